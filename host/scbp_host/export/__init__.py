"""From a torch module to one ONNX file: with its weights, or as a structure that compresses to a few KB."""
