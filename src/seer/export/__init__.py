"""A run's agent as ONNX files, for machines without seer or torch (docs/export.md)."""
