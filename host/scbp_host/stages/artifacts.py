"""The files of a run: written whole and synced before the store acknowledges them, hashed when read again."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import StoreError
from scbp_host.space.derive import CANDIDATE_FILE, WEIGHTS_FILE, rebuild, save_candidate
from scbp_host.space.seeds import Module

MODEL_FILE = "model.onnx"
CHECKPOINT_FILE = "training.safetensors"


class Artifacts:
    """The trained candidates of one run, one folder each.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, structure_id: str) -> Path:
        """Return the folder of one candidate."""
        return self.folder / "candidates" / structure_id

    def checkpoint(self, structure_id: str) -> Path:
        """Return where an unfinished training keeps its state."""
        return self.of(structure_id) / CHECKPOINT_FILE

    def save_module(self, candidate: Candidate, module: Module, name: str | None = None) -> str:
        """Write candidate.json and weights.safetensors; return the weights' SHA-256.

        Args:
            candidate: which.
            module: its network.
            name: what to keep it under; None takes the structure's id.
        """
        folder = self.of(name or candidate.structure_id)
        save_candidate(folder, candidate, module)
        for file in (CANDIDATE_FILE, WEIGHTS_FILE):
            _sync(folder / file)
        return _sha256(folder / WEIGHTS_FILE)

    def load_module(self, structure_id: str, weights_sha256: str) -> Module:
        """Rebuild a module from its files; raises StoreError where they are not the acknowledged ones."""
        folder = self.of(structure_id)
        self._check(folder / WEIGHTS_FILE, weights_sha256)
        return rebuild(folder / CANDIDATE_FILE, folder / WEIGHTS_FILE)

    def save_onnx(self, variant_id: str, content: bytes) -> str:
        """Write model.onnx, or model.PRECISION.onnx of a further precision; return its SHA-256."""
        path = self._onnx(variant_id)
        path.write_bytes(content)
        _sync(path)
        return _sha256(path)

    def load_onnx(self, variant_id: str, sha256: str) -> bytes:
        """Read what :meth:`save_onnx` wrote; raises StoreError where it is not the acknowledged one."""
        path = self._onnx(variant_id)
        self._check(path, sha256)
        return path.read_bytes()

    def publish(self, variant_id: str) -> None:
        """Copy the winner's three files to the top of the run's folder."""
        model = self._onnx(variant_id)
        for path in (model, model.parent / WEIGHTS_FILE, model.parent / CANDIDATE_FILE):
            name = MODEL_FILE if path == model else path.name
            temporary = self.folder / f".{name}.tmp"
            shutil.copyfile(path, temporary)
            temporary.replace(self.folder / name)

    def _onnx(self, variant_id: str) -> Path:
        structure_id, _, precision = variant_id.partition("@")
        return self.of(structure_id) / (f"model.{precision}.onnx" if precision else MODEL_FILE)

    def _check(self, path: Path, sha256: str) -> None:
        if not path.exists() or _sha256(path) != sha256:
            raise StoreError(
                f"{path}: missing or changed since the run acknowledged it", "start a new run, without --resume"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    for target in (path, path.parent):
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
