from __future__ import annotations

import lzma
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torchvision.models import get_model

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.export import onnx as exporter
from scbp_host.export.onnx import ExportError, check_onnx, export_onnx
from scbp_host.export.parity import Parity, check_parity
from scbp_host.export.structure import structure_onnx, without_weights

SHAPE = (3, 32, 32)
VERSIONS = {"opset": 13, "ir_version": 8}
IMAGES = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)


def resnet(random_seed: int = 0, *, as_trained: bool = True) -> nn.Module:
    """With ``as_trained``, every BatchNorm has values of its own; otherwise they are all equal, as when fresh."""
    generator = torch.Generator().manual_seed(random_seed)
    module = get_model("resnet18", weights=None, num_classes=10)
    for layer in module.modules() if as_trained else ():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return module.eval()


class Net(nn.Module):
    """What resnet18 lacks: a BatchNorm that cannot be folded, a Resize with float scales, a vector of its own."""

    def __init__(self, random_seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(random_seed)
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.scale = nn.Parameter(torch.randn(8, 1, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        wide = nn.functional.interpolate(self.norm(images), scale_factor=2.0, mode="nearest")
        return self.head((self.scale * self.conv(wide)).relu().mean((2, 3)))  # type: ignore[no-any-return]


def operators(written: bytes) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    graph = onnx.load_model_from_string(written).graph
    return [(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]


def tensors(written: bytes) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(written).graph.initializer}


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (13, 8), (17, 8)])
def test_versions_asked_for_are_versions_written(opset: int, ir_version: int) -> None:
    model = onnx.load_model_from_string(export_onnx(Net(), SHAPE, opset=opset, ir_version=ir_version))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert model.ir_version == ir_version


def test_names_shapes_and_folded_batch_norms() -> None:
    model = onnx.load_model_from_string(export_onnx(resnet(), SHAPE, **VERSIONS))
    (inputs,), (outputs,) = model.graph.input, model.graph.output
    assert (inputs.name, [d.dim_value for d in inputs.type.tensor_type.shape.dim]) == ("input", [1, 3, 32, 32])
    assert (outputs.name, [d.dim_value for d in outputs.type.tensor_type.shape.dim]) == ("logits", [1, 10])
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_export_is_silent_and_leaves_the_module_alone() -> None:
    module = Net().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(module, SHAPE, **VERSIONS)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("versions", "says"),
    [({"opset": 12, "ir_version": 8}, "expected opset 12"), ({"opset": 13, "ir_version": 7}, "expected ONNX IR 7")],
)
def test_a_file_of_other_versions_is_refused(versions: dict[str, int], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        check_onnx(export_onnx(Net(), SHAPE, **VERSIONS), **versions)


def test_an_exporter_that_writes_another_opset_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = exporter._torchscript_export
    monkeypatch.setattr(exporter, "_torchscript_export", lambda module, shape, _opset: honest(module, shape, 17))
    with pytest.raises(ExportError, match="expected opset 13"):
        export_onnx(Net(), SHAPE, **VERSIONS)


@pytest.mark.parametrize("versions", [{"opset": 99, "ir_version": 8}, {"opset": 13, "ir_version": 3}])
def test_versions_nobody_can_write_are_refused(versions: dict[str, int]) -> None:
    with pytest.raises(ExportError):
        export_onnx(Net(), SHAPE, **versions)


def test_a_module_that_cannot_be_exported_is_one_line() -> None:
    class Unexportable(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(images).real.sum((1, 2))

    with pytest.raises(ExportError, match="Unexportable at opset 13") as caught:
        export_onnx(Unexportable(), SHAPE, **VERSIONS)
    assert "\n" not in caught.value.message


def test_external_data_is_refused() -> None:
    model = onnx.load_model_from_string(export_onnx(Net(), SHAPE, **VERSIONS))
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ExportError, match="outside the file"):
        check_onnx(model.SerializeToString(), **VERSIONS)


@pytest.mark.parametrize("fresh", [False, True])
def test_structure_has_the_operators_of_the_trained_export(fresh: bool) -> None:
    """A fresh module's equal tensors must not change the graph, or another model than the shipped one is timed."""
    trained = export_onnx(resnet(), SHAPE, **VERSIONS)
    structure = structure_onnx(resnet(1, as_trained=not fresh), SHAPE, **VERSIONS)
    assert operators(structure) == operators(trained)
    assert {n: t.shape for n, t in tensors(structure).items()} == {n: t.shape for n, t in tensors(trained).items()}


def test_no_weight_survives_in_a_structure() -> None:
    """Two modules without a value in common have the same structure, byte for byte."""
    assert structure_onnx(resnet(0), SHAPE, **VERSIONS) == structure_onnx(resnet(1), SHAPE, **VERSIONS)
    module = Net()
    real = {value for p in module.state_dict().values() if p.is_floating_point() for value in p.flatten().tolist()}
    filler = tensors(structure_onnx(module, SHAPE, **VERSIONS))
    for name in ("norm.weight", "norm.running_var", "conv.weight", "scale", "head.weight", "head.bias"):
        assert not real & set(filler[name].flatten().tolist()), name


def test_weights_of_a_structure_keep_the_variance_of_relu_activations() -> None:
    for name, weight in tensors(structure_onnx(resnet(), SHAPE, **VERSIONS)).items():
        if weight.ndim > 1:
            fan_in = weight[0].size
            assert weight.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05), name
            assert abs(weight.mean()) < 0.1 * weight.std(), name


def test_structure_of_the_unusual_runs() -> None:
    logits = onnxruntime.InferenceSession(structure_onnx(Net(), SHAPE, **VERSIONS)).run(None, {"input": IMAGES[:1]})[0]
    assert logits.shape == (1, 4)
    assert np.isfinite(logits).all()


def test_what_an_operator_shall_do_stays_in_a_structure() -> None:
    """Scales of a Resize and a shape are no weights, though both may be initializers."""
    kept = {"scales": np.array([1, 1, 2, 2], np.float32), "shape": np.array([1, -1], np.int64), "half": np.float32(0.5)}
    weight = np.ones((12, 4), np.float32)
    make = onnx.helper
    graph = make.make_graph(
        [
            make.make_node("Resize", ["input", "", "scales"], ["wide"]),
            make.make_node("Mul", ["wide", "half"], ["dimmed"]),
            make.make_node("Reshape", ["dimmed", "shape"], ["flat"]),
            make.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "net",
        [make.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 1, 1])],
        [make.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**kept, "weight": weight}.items()],
    )
    stripped = tensors(without_weights(make.make_model(graph).SerializeToString()))
    assert all(np.array_equal(stripped[name], value) for name, value in kept.items())
    assert not (stripped["weight"] == weight).any()


def test_structure_of_45_megabytes_packs_into_50_kilobytes() -> None:
    structure = structure_onnx(resnet(), SHAPE, **VERSIONS)
    assert len(structure) > 44_000_000
    assert len(lzma.compress(structure, preset=0)) < 50_000


def test_activations_of_a_structure_are_normal_numbers() -> None:
    """Denormals are slow on a CPU; infinities are fast. Neither is what the trained model will meet."""
    model = onnx.load_model_from_string(structure_onnx(resnet(), SHAPE, **VERSIONS))
    inner = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for image in IMAGES:
        for name, value in zip(inner, session.run(None, {"input": image[None]}), strict=True):
            magnitude = np.abs(value[value != 0.0])
            assert np.isfinite(value).all(), name
            assert 1e-3 < magnitude.mean() < 1e4, name
            assert magnitude.min() > np.finfo(np.float32).tiny, name


def test_parity_of_an_honest_export() -> None:
    module = resnet()
    parity = check_parity(module, export_onnx(module, SHAPE, **VERSIONS), IMAGES)
    assert isinstance(parity, Parity)
    assert parity.relative < 1e-5
    with torch.no_grad():
        assert parity.max_abs_reference == pytest.approx(float(module(torch.from_numpy(IMAGES)).abs().max()))


@pytest.mark.parametrize("relative", [1e-3, float("nan")])
def test_one_changed_weight_breaks_parity(relative: float) -> None:
    module, other = Net(), Net()
    other.head.bias.data[1] += relative * 10
    failure = check_parity(module.eval(), export_onnx(other, SHAPE, **VERSIONS), IMAGES)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PARITY_FAILED


def test_a_file_the_runtime_refuses_fails_parity() -> None:
    failure = check_parity(Net(), b"not an onnx", IMAGES)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PARITY_FAILED
