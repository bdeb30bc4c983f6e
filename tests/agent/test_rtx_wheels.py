"""The table of TensorRT's APIs says of TensorRT-RTX what its real bindings are."""


def test_the_real_bindings_can_be_had(rtx):
    assert rtx.__version__.startswith("1.7.")
    assert rtx.Builder(rtx.Logger()) is not None
