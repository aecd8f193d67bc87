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
import onnxscript as _onnxscript  # noqa: F401  # torch's exporter translates with it
import torch
from torch import Tensor, nn

from seer.agents.agent import Agent
from seer.errors import SettingError
from seer.export.graphs import AgentGraph, EncoderGraph, Policy, policy_of

ENCODER, POLICY, AGENT = "encoder.onnx", "policy.onnx", "agent.onnx"

MOST_BYTES = (1 << 31) - (1 << 20)
"""Of the weights in one file: it is one protobuf message, which ends at 2 GiB."""


def export(agent: Agent[Any], frames_shape: tuple[int, ...], folder: Path) -> dict[str, dict[str, Any]]:
    """Write encoder, policy and both together, for any number of observations [S, C, H, W] at a time, to `folder`.

    Returns of each file dtype and shape of its inputs and outputs, by name, and its opset.

    The agent should be one that computes in float32, on the CPU: its layers go into the graphs as they are.

    Raises:
        SettingError: a layer has no counterpart in ONNX (one of a module of the user's own), or is too large.
        OSError: the files can't be written.
    """
    encoder, policy = EncoderGraph(agent), policy_of(agent)
    # Two observations: the exporter takes a size of one for a constant.
    frames = torch.zeros(2, *frames_shape, dtype=torch.uint8)
    latents = torch.zeros(2, *agent.online.encoder.latent_shape)
    whole = AgentGraph(encoder, policy)
    return {
        ENCODER: _write(encoder, {"frames": frames}, folder / ENCODER),
        POLICY: _write(policy, {"latents": latents}, folder / POLICY),
        AGENT: _write(whole, {"frames": frames}, folder / AGENT),
    }


def _write(graph: EncoderGraph | Policy | AgentGraph, inputs: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Write one graph, check its form and describe it."""
    graph.eval()
    if sum(weight.nbytes for weight in graph.state_dict().values()) > MOST_BYTES:
        raise SettingError(f"{path.name} would have more than {MOST_BYTES:,} bytes: use a smaller encoder")
    with _quiet(), torch.no_grad():
        model = _translate(graph, inputs, path.name)
    graph_proto = model.graph
    del graph_proto.metadata_props[:]  # the exporter's own notes: stack traces with this machine's paths among them
    for part in (
        *graph_proto.node,
        *graph_proto.value_info,
        *graph_proto.initializer,
        *graph_proto.input,
        *graph_proto.output,
    ):
        del part.metadata_props[:]
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return {
        "inputs": {value.name: _describe(value) for value in model.graph.input},
        "outputs": {value.name: _describe(value) for value in model.graph.output},
        "opset": next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx")),
    }


def _translate(graph: nn.Module, inputs: dict[str, Tensor], name: str) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    try:
        program = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(graph.outputs),  # type: ignore[arg-type]
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise SettingError(
            f"{name} can't be made: a layer has no ONNX counterpart, or works for one batch size alone ({reason})"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notices, which are about torch's insides and packages that aren't needed."""
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
