"""A run's agent as ONNX files, for machines without seer or torch (docs/export.md)."""

try:
    import onnx as _onnx  # noqa: F401
    import onnxruntime as _onnxruntime  # noqa: F401
    import onnxscript as _onnxscript  # noqa: F401
except ImportError as error:
    raise ImportError("ONNX is missing: pip install 'seer-rl[export]'") from error

from seer.export.bundle import Bundle, make_bundle
from seer.export.check import Agreement, compare, outputs_of

__all__ = ["Agreement", "Bundle", "compare", "make_bundle", "outputs_of"]
