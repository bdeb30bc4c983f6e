"""Does the exported file compute what the module computes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.domain.outcome import Failure, FailureKind

# Float32 sums taken in another order, through some twenty layers, differ by about 1e-6 of the largest output.
MAX_RELATIVE_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime's outputs are from torch's on one batch.

    Attributes:
        max_abs_difference: largest difference of any logit.
        max_abs_reference: largest logit of torch, which the difference is judged by.
    """

    max_abs_difference: float
    max_abs_reference: float

    @property
    def relative(self) -> float:
        """The difference as a share of the largest logit."""
        return self.max_abs_difference / max(self.max_abs_reference, float(np.finfo(np.float32).tiny))


def check_parity(
    module: nn.Module, onnx_bytes: bytes, images: NDArray[np.float32], tolerance: float = MAX_RELATIVE_DIFFERENCE
) -> Parity | Failure:
    """Compare ``module`` and its export on a real batch.

    Args:
        module: on the CPU; run in eval mode, left as it was.
        onnx_bytes: the export, with a static batch of 1.
        images: float32 (n, c, h, w), n > 0.
        tolerance: largest difference, as a share of the largest logit; the default is float32's.

    Returns:
        the differences; or a Failure of kind PARITY_FAILED when they exceed the tolerance, when an output is not
        finite, or when ONNX Runtime refuses the file.
    """
    try:
        exported = run_onnx(onnx_bytes, images)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions derive from Exception directly
        return Failure(FailureKind.PARITY_FAILED, f"ONNX Runtime refuses the exported model: {error}")
    reference = _run_torch(module, images)
    parity = Parity(float(np.max(np.abs(exported - reference))), float(np.max(np.abs(reference))))
    # Negated, so that a NaN fails too.
    if not parity.relative <= tolerance:
        return Failure(
            FailureKind.PARITY_FAILED,
            f"the export differs from torch by {parity.relative:.2g} of the largest logit, "
            f"expected at most {tolerance:g}",
        )
    return parity


def run_onnx(onnx_bytes: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a network with a batch of 1 over images (n, c, h, w) here; returns its first output for all, (n, ...)."""
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: image[None]})[0] for image in images]
    logits: NDArray[np.float32] = np.concatenate(outputs)
    return logits


def _run_torch(module: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        logits: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
    module.train(was_training)
    return logits
