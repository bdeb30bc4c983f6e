"""Who is loaded first is an advantage of several percent, so the models take turns in it."""

from contextlib import contextmanager

import numpy as np

from scbp_agent import jobs

MODELS = REFERENCE, FIRST, SECOND = "a" * 64, "b" * 64, "c" * 64
OPTIONS = {"runtime": "onnxruntime", "threads": 1, "settings": {}}


def test_the_models_take_turns_in_who_is_loaded_first(monkeypatch, linear_model, tmp_path):
    loaded = []
    open_model = jobs._open

    @contextmanager
    def watched(model, options, job):
        loaded.append(model.blobs["model"])
        with open_model(model, options, job) as opened:
            yield opened

    monkeypatch.setattr(jobs, "_open", watched)
    path = tmp_path / "model.onnx"
    path.write_bytes(linear_model(np.ones((48, 5), np.float32)))
    plan = {
        "models": [{"model": {"format": "onnx", "blobs": {"model": own}}, "options": OPTIONS} for own in MODELS],
        "inputs": None,
        **{"loads": 3, "blocks": 2, "block_ns": 1000, "warmup_ns": 1000, "deadline_s": 60.0},
    }
    files = {own: str(path) for own in MODELS}
    jobs._paired({"plan": plan, "files": files, "engines": str(tmp_path / "engines"), "killed": 0})
    assert loaded == [REFERENCE, FIRST, SECOND, FIRST, SECOND, REFERENCE, SECOND, REFERENCE, FIRST]
