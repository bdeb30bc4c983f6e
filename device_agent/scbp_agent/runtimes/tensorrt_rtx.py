"""TensorRT-RTX, NVIDIA's TensorRT for RTX cards. Its builder needs no GPU."""

import functools

from scbp_agent.runtimes import tensorrt, tensorrt_api

_NAME = "tensorrt-rtx"
LIBRARIES = tensorrt_api.FAMILIES[_NAME].modules
SETTINGS = tensorrt.SETTINGS

version = functools.partial(tensorrt.version, _NAME)
max_opset = functools.partial(tensorrt.max_opset, _NAME)
capabilities = functools.partial(tensorrt.capabilities, _NAME)
prepare = tensorrt.prepare
open_model = tensorrt.open_model
open_profiled = tensorrt.open_profiled
