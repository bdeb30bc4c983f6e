"""ncnn models on the CPU: ``param`` is the network as text, ``bin`` holds its weights, as pnnx writes them on the host.

ncnn has no batch axis: the first one, which is 1, is taken off the input and put before the outputs again.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import advice, base, libraries, settings

LIBRARIES = ("ncnn",)
# ncnn's own default is half precision wherever the CPU has it. Here it must be asked for: by default a device computes
# what the host's network computes. Winograd's convolutions keep several times the weights, and on a small image reading
# these can take longer than what they save.
SETTINGS = {"precision": settings.choice("fp32", "fp16"), "winograd": settings.flag(True)}

_MAGIC = "7767517"
_HEADER_LINES = 2
_OUT_OF_MEMORY = -100
# How an Input layer names its sizes in the param file, innermost last: channels, depth, height, width.
_SIZE_KEYS = ("2", "11", "1", "0")


def version() -> str:
    """Import ncnn and return its version; raises CAPABILITY_MISSING."""
    return str(_library().__version__)


def max_opset() -> Optional[int]:
    """Return None: ncnn reads no ONNX."""
    return None


def open_model(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions) -> base.Model:
    """Return the network in roles ``param`` and ``bin``; raises CAPABILITY_MISSING for another format."""
    if format_name != "ncnn":
        message = "ncnn runs ncnn's own format, not %r" % format_name
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, message, "convert the model with pnnx; scbp-host does it")
    if set(paths) != {"param", "bin"}:
        raise wire.AgentFailure(wire.BAD_REQUEST, "ncnn needs two blobs, 'bin' and 'param'; got %s" % sorted(paths))
    return NcnnModel(paths["param"], paths["bin"], options.threads, base.resolve_settings(options))


class NcnnModel(base.Model):
    """A Net with one float32 input."""

    dtype = "float32"

    def __init__(self, param: str, weights: str, threads: int, told: Dict[str, Any]) -> None:
        self._param = param
        self._weights = weights
        self._threads = threads
        self._told = told
        self._net: Any = None

    def __enter__(self) -> "NcnnModel":
        self._library, self._numpy = _library(), libraries.require_numpy()
        layers = _read_layers(self._param)
        _check_layers(self._library, layers)
        self.input_shape = _input_shape(layers)
        net = self._configured()
        # Both say why on stderr, and here no more than that they failed.
        if net.load_param(self._param) != 0:
            raise _refused("its network cannot be read")
        if net.load_model(self._weights) != 0:
            raise _refused("its weights are not those of this network, or too few")
        self._net, self._inputs, self._outputs = net, net.input_names(), net.output_names()
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._net = None

    def run(self, array: Any) -> List[Any]:
        """Run one input; returns all outputs."""
        extractor = self._net.create_extractor()
        # A Mat over numpy's memory is not aligned as ncnn's own are: the clone is.
        extractor.input(self._inputs[0], self._library.Mat(array[0]).clone())
        return [self._extract(extractor, name) for name in self._outputs]

    def _extract(self, extractor: Any, name: str) -> Any:
        status, mat = extractor.extract(name)
        if status == _OUT_OF_MEMORY:
            raise wire.AgentFailure(wire.OUT_OF_MEMORY, "ncnn ran out of memory")
        if status != 0:
            raise _refused("computing %s ended with status %d" % (name, status))
        return self._numpy.array(mat)[None]

    def _configured(self) -> Any:
        net = self._library.Net()
        option, half = net.opt, self._told["precision"] == "fp16"
        option.num_threads = self._threads
        option.use_vulkan_compute = False
        option.use_bf16_storage = False
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = half
        option.use_winograd_convolution = self._told["winograd"]
        if half and not self._library.cpu_support_arm_asimdhp():
            self.notes = ("this CPU does not calculate in fp16: ncnn may keep weights so, the arithmetic is fp32",)
        return net


def _read_layers(path: str) -> List[List[str]]:
    """Return the words of each layer's line; raises BAD_MODEL for a file that is not ncnn's text."""
    with open(path, encoding="ascii", errors="replace") as param:
        lines = [line.split() for line in param.read().splitlines() if line.strip()]
    if len(lines) <= _HEADER_LINES or lines[0] != [_MAGIC]:
        raise _refused("its network does not begin as an ncnn param file does")
    return lines[_HEADER_LINES:]


def _check_layers(library: Any, layers: List[List[str]]) -> None:
    unknown = sorted({words[0] for words in layers if library.layer_to_index(words[0]) < 0})
    if unknown:
        message = "this ncnn (%s) has no layer %s" % (library.__version__, ", ".join(unknown))
        raise wire.AgentFailure(wire.BAD_MODEL, message, 'install a newer ncnn, or use runtime = "onnxruntime"')


def _input_shape(layers: List[List[str]]) -> Tuple[Optional[int], ...]:
    """Return (1, ...) from the only Input layer, whose sizes the host writes: ``0=W 1=H 2=C``."""
    inputs = [words for words in layers if words[0] == "Input"]
    if len(inputs) != 1:
        raise _refused("it has %d inputs; expected one" % len(inputs))
    sizes = dict(word.split("=", 1) for word in inputs[0] if re.match(r"^\d+=\d+$", word))
    shape = tuple(int(sizes[key]) for key in _SIZE_KEYS if key in sizes)
    if not shape:
        raise _refused("its input states no size; expected 0=WIDTH 1=HEIGHT 2=CHANNELS on the Input layer's line")
    return (1,) + shape


def _library() -> Any:
    return libraries.require("ncnn", LIBRARIES, lambda: advice.pip_hint("numpy", "ncnn"))


def _refused(why: str) -> wire.AgentFailure:
    return wire.AgentFailure(wire.BAD_MODEL, "ncnn refused the model: %s" % why)
