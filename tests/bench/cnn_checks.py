"""What must hold for every network derived from every seed. Each check raises AssertionError; figures come back."""

from __future__ import annotations

import copy
import json
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional
from torchvision.models.convnext import LayerNorm2d

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.export.onnx import INPUT_NAME, export_onnx
from scbp_host.export.parity import MAX_RELATIVE_DIFFERENCE, Parity, check_parity
from scbp_host.profiles import load_profile
from scbp_host.space.cost import cost
from scbp_host.space.derive import CANDIDATE_FILE, WEIGHTS_FILE, rebuild, save_candidate
from scbp_host.space.narrowing import BLANK
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed
from scbp_host.space.slices import Carving, carve
from scbp_host.space.steps import check_steps, widths_of
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.space.survey import layers_of

RATIOS = (1.0, 0.75, 0.5, 0.25)
CHANNEL_STEP = 8
# In double precision, where sums in another order differ by about 1e-15 for each layer.
MASKING_TOLERANCE = 1e-9


def restless(spec: SeedSpec, random_seed: int) -> nn.Module:
    """Return a seed in which every channel matters and none is like another, as after training.

    BatchNorms get the statistics of what they see, so that the image is not lost among biases on its way through.
    """
    module = build_seed(spec, random_seed)
    generator = torch.Generator().manual_seed(random_seed)
    for name, tensor in module.named_parameters():
        if tensor.ndim <= 1 or name.endswith("layer_scale"):
            offset = 0.0 if name.endswith("bias") else 0.75
            tensor.data = offset + (torch.rand(tensor.shape, generator=generator) - 0.5) / 2
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.train().momentum = 1.0
    with torch.no_grad():
        module(torch.randn(4, *spec.input_shape, generator=generator))
    for layer, momentum in zip(norms, before, strict=True):
        layer.eval().momentum = momentum
    return module


def space_of(spec: SeedSpec) -> SearchSpace:
    """Return the space that a run would search by default."""
    return SearchSpace.uniform(spec, bin_by_stage(spec), RATIOS, CHANNEL_STEP)


def points(space: SearchSpace, count: int, random_seed: int) -> list[Candidate]:
    """Draw different structures, none of them the seed."""
    draw = random.Random(random_seed)
    seed = space.candidate([1.0] * len(space.superblocks))
    found: dict[str, Candidate] = {}
    while len(found) < count:
        own = space.candidate([draw.choice(ratios) for ratios in space.alphabets])
        if own.structure_id != seed.structure_id:
            found[own.structure_id] = own
    return list(found.values())


def check_point(space: SearchSpace, source: nn.Module, candidate: Candidate) -> dict[str, Any]:
    """Derive one point and check all of it."""
    carving = carve(candidate, source)
    check_widths(space, source, candidate, carving.module)
    return {
        "ratios": list(candidate.ratios),
        **check_masking(space.seed, source, carving),
        **check_export(space.seed, carving.module),
        **check_rebuild(candidate, carving.module),
    }


def check_widths(space: SearchSpace, source: nn.Module, candidate: Candidate, module: nn.Module) -> None:
    """Every layer of a group has its width or share of it, and every convolution keeps to the device's step."""
    check_steps(module, widths_of(source), CHANNEL_STEP)
    widths = dict(candidate.widths)
    for group in (group for block in space.superblocks for group in block.groups):
        for layer in group.layers:
            whole, found = (len(own.get_parameter(f"{layer}.weight")) for own in (source, module))
            assert found * group.channels == whole * widths[group.name], (layer, found)
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            shape = (layer.out_channels, layer.in_channels // layer.groups)
            assert tuple(layer.weight.shape[:2]) == shape, name


def check_masking(spec: SeedSpec, source: nn.Module, carving: Carving) -> dict[str, float]:
    """The seed with everything but the candidate's part set to zero says what the candidate says.

    A channel coupled to a wrong one would be read by somebody else's weights in one of the two, and zero in the other.
    """
    images = torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(0)).double()
    networks = (masked(source, carving), copy.deepcopy(source), copy.deepcopy(carving.module))
    with torch.inference_mode():
        expected, whole, found = (network.double()(images) for network in networks)
    scale = float(expected.abs().max())
    difference, to_seed = (float((own - found).abs().max()) / scale for own in (expected, whole))
    assert math.isfinite(difference)
    assert difference <= MASKING_TOLERANCE, f"masked seed and candidate differ by {difference:.1e}"
    assert to_seed > 1000 * MASKING_TOLERANCE, "what was removed does not show: the check would see nothing"
    return {"masked_difference": difference, "difference_to_seed": to_seed}


def masked(source: nn.Module, carving: Carving) -> nn.Module:
    """Return the seed with zeros for all that the candidate does not keep."""
    module = copy.deepcopy(source)
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and not name.endswith(("running_mean", "running_var")):
            mask = torch.zeros_like(tensor)
            mask[tuple(_positions(carving, name, tensor))] = 1.0
            tensor.data = tensor.data * mask
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
            kept = _positions(carving, f"{name}.weight", layer.weight)[0]
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, NormOfKept(layer, kept))
    return module


class NormOfKept(nn.Module):
    """A normalisation over channels together that knows which of them are left: zeros would count as values."""

    def __init__(self, norm: nn.LayerNorm | nn.GroupNorm, kept: torch.Tensor) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm, first = self.norm, isinstance(self.norm, LayerNorm2d | nn.GroupNorm)
        x = x.movedim(1, -1) if first else x
        own, weight, bias = x[..., self.kept], norm.weight[self.kept], norm.bias[self.kept]
        if isinstance(norm, nn.GroupNorm):
            own = functional.group_norm(own.movedim(-1, 1), norm.num_groups, weight, bias, norm.eps).movedim(1, -1)
        else:
            own = functional.layer_norm(own, (len(self.kept),), weight, bias, norm.eps)
        result = torch.zeros_like(x).index_copy(-1, self.kept, own)
        return result.movedim(-1, 1) if first else result


def _positions(carving: Carving, name: str, tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    axes = carving.slices[name].axes
    kept = [
        torch.arange(size) if own is None else own[own != BLANK] for own, size in zip(axes, tensor.shape, strict=True)
    ]
    return torch.meshgrid(*kept, indexing="ij") if len(kept) > 1 else kept


def check_export(spec: SeedSpec, module: nn.Module) -> dict[str, Any]:
    """The exported file computes the same, and has the parameters and multiply-accumulates that were counted."""
    profile = load_profile("local")
    written = export_onnx(module, spec.input_shape, opset=profile.opset, ir_version=profile.ir_version)
    images = torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(1)).numpy()
    parity = check_parity(module, written, images)
    assert isinstance(parity, Parity), parity
    assert parity.relative < MAX_RELATIVE_DIFFERENCE
    counted, in_file = cost(module, spec.input_shape), counted_in_onnx(written, spec.input_shape)
    by_layer = sum(layer.macs for layer in layers_of(module, spec.input_shape))
    assert counted.macs == by_layer, "multiply-accumulates differ from the sum over layers, each by its shape"
    assert counted.macs == in_file["macs"], "multiply-accumulates differ from the exported file's"
    assert counted.params == by_attributes(module), "parameters differ from what the layers' attributes say"
    assert weights_in(module) == in_file["weights"], "weights differ from the exported file's"
    return {"params": counted.params, "macs": counted.macs, "parity": parity.relative}


def counted_in_onnx(written: bytes, input_shape: tuple[int, int, int]) -> Mapping[str, int]:
    """Count the weights of convolutions and matrix products in an ONNX file, and their multiply-accumulates.

    What each of them puts out is seen by running the file: shapes that are computed in it cannot all be inferred.
    """
    model = onnx.load_model_from_string(written)
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [own for own in model.graph.node if own.op_type in ("Conv", "Gemm", "MatMul") and own.input[1] in sizes]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=own.output[0]) for own in nodes)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {INPUT_NAME: np.zeros((1, *input_shape), np.float32)})
    macs = 0
    for node, output in zip(nodes, outputs, strict=True):
        size = sizes[node.input[1]]
        # A convolution's filter and a Gemm's transposed row are all but the first axis, a MatMul's column is it.
        macs += output.size * (size[0] if node.op_type == "MatMul" else math.prod(size[1:]))
    return {"macs": macs, "weights": sum(math.prod(sizes[name]) for name in {own.input[1] for own in nodes})}


def weights_in(module: nn.Module) -> int:
    """Count the weights of convolutions and linear layers, biases left out: the export folds BatchNorms into these."""
    return sum(own.weight.numel() for own in module.modules() if isinstance(own, nn.Conv2d | nn.Linear))


def by_attributes(module: nn.Module) -> int:
    """Count parameters by what the layers say of themselves, and by their tensors only where they say nothing."""
    return sum(_own_parameters(layer) for layer in module.modules())


def _own_parameters(layer: nn.Module) -> int:
    if isinstance(layer, nn.Conv2d):
        filters = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return layer.out_channels * (filters + (layer.bias is not None))
    if isinstance(layer, nn.Linear):
        return layer.out_features * (layer.in_features + (layer.bias is not None))
    if isinstance(layer, nn.BatchNorm2d):
        return 2 * layer.num_features
    if isinstance(layer, nn.LayerNorm):
        return 2 * math.prod(layer.normalized_shape)
    return sum(parameter.numel() for parameter in layer.parameters(recurse=False))


def check_rebuild(candidate: Candidate, module: nn.Module) -> dict[str, int]:
    """Two files are enough to have every tensor back, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        save_candidate(path, candidate, module)
        again = rebuild(path / CANDIDATE_FILE, path / WEIGHTS_FILE).state_dict()
        assert json.loads((path / CANDIDATE_FILE).read_text())["structure_id"] == candidate.structure_id
        size = (path / WEIGHTS_FILE).stat().st_size
    assert all(torch.equal(tensor, again[name]) for name, tensor in module.state_dict().items())
    return {"weights_bytes": size}
