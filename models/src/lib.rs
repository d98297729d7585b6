//! What is inferred: model packages, ONNX Runtime sessions, tiled prediction.
