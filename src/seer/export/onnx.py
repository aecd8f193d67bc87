"""Writing the three files.

Axes: B batch, S stack, C channels, H, W.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx.compose
import onnxscript as _onnxscript  # noqa: F401  # torch's exporter translates with it
import torch
from torch import Tensor

from seer.agents.agent import Agent
from seer.errors import SettingError
from seer.export.graphs import EncoderGraph, Policy, policy_of

ENCODER, POLICY, AGENT = "encoder.onnx", "policy.onnx", "agent.onnx"

MOST_BYTES = (1 << 31) - (1 << 20)
"""Of the weights in one file: it is one protobuf message, which ends at 2 GiB."""


def export(agent: Agent[Any], frames_shape: tuple[int, ...], folder: Path) -> dict[str, dict[str, Any]]:
    """Write encoder, policy and both joined, for any number of observations [S, C, H, W] at a time, to `folder`.

    Returns of each file dtype and shape of its inputs and outputs, by name, and its opset.

    The agent should be one that computes in float32, on the CPU: its layers go into the graphs as they are.

    Raises:
        SettingError: a layer has no counterpart in ONNX (one of a module of the user's own), or is too large.
        OSError: the files can't be written.
    """
    # Two observations: the exporter takes a size of one for a constant.
    frames = torch.zeros(2, *frames_shape, dtype=torch.uint8)
    latents = torch.zeros(2, *agent.online.encoder.latent_shape)
    encoder = _translate(EncoderGraph(agent), "frames", frames, ENCODER)
    policy = _translate(policy_of(agent), "latents", latents, POLICY)
    apart = onnx.compose.add_prefix(policy, "policy.", rename_inputs=False, rename_outputs=False)
    _refuse_too_large(encoder.ByteSize() + policy.ByteSize(), AGENT)
    both = onnx.compose.merge_models(encoder, apart, io_map=[("latents", "latents")])
    return {name: _write(model, folder / name) for name, model in ((ENCODER, encoder), (POLICY, policy), (AGENT, both))}


def _translate(graph: EncoderGraph | Policy, given: str, example: Tensor, name: str) -> onnx.ModelProto:
    """Return a graph of one input, `given`, without the exporter's notes, which hold paths of this machine."""
    graph.eval()
    _refuse_too_large(sum(weight.nbytes for weight in graph.state_dict().values()), name)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph, (example,), input_names=[given], output_names=list(graph.outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise SettingError(
            f"{name} can't be made: a layer has no ONNX counterpart, or works for one batch size alone ({reason})"
        ) from error
    assert program is not None
    model = program.model_proto
    parts = model.graph
    for part in (parts, *parts.node, *parts.value_info, *parts.initializer, *parts.input, *parts.output):
        del part.metadata_props[:]
    return model


def _refuse_too_large(num_bytes: int, name: str) -> None:
    if num_bytes > MOST_BYTES:
        raise SettingError(f"{name} would have more than {MOST_BYTES:,} bytes: use a smaller encoder")


def _write(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    """Check a model's form, write and describe it."""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return {
        "inputs": {value.name: _describe(value) for value in model.graph.input},
        "outputs": {value.name: _describe(value) for value in model.graph.output},
        "opset": next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx")),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's notices, which are about torch's insides and packages that aren't needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [each.dim_param or each.dim_value for each in kind.shape.dim]
    return {"dtype": onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, "shape": shape}
