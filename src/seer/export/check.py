"""A check that the files do in ONNX Runtime what the agent does.

Axes: B observations, S stack, C channels, H, W, N latents per observation, L latent, A actions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as states

from seer.agents.agent import Agent
from seer.agents.rainbow import Rainbow
from seer.errors import RunError
from seer.export.onnx import AGENT, ENCODER, POLICY

TOLERANCE = 1e-4
"""Largest difference that rounding explains, as a share of the largest number of its kind, or of 1 if that is more."""

CHUNK = 32  # observations at a time

CANT_RUN = (states.Fail, states.InvalidArgument, states.InvalidGraph, states.NotImplemented, states.RuntimeException)

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """How near two ways to compute the same are, over `observations`.

    differences: the largest one of each output, in its unit; of Q-values, of the best and of those of the actions.
    equal_actions: of discrete actions, how many are the same; None for continuous ones.
    """

    observations: int
    differences: dict[str, float]
    equal_actions: int | None

    def __str__(self) -> str:
        """Return a line of a table."""
        differences = ", ".join(f"{name} {value:.2g}" for name, value in self.differences.items())
        equal = "" if self.equal_actions is None else f"; {self.equal_actions:,} of {self.observations:,} actions equal"
        return f"largest difference: {differences}{equal}"


@torch.no_grad()
def outputs_of(agent: Agent[Any], observations: np.ndarray) -> Outputs:
    """Return what the agent itself makes of observations [B, S, C, H, W] uint8: latents, action, best Q-value."""
    found: list[Outputs] = []
    for chunk in _chunks(observations):
        frames, encoder = agent.view(torch.from_numpy(chunk).to(agent.device)), agent.online.encoder
        latents = encoder.encode(encoder.pixels(frames))
        outputs = {"latents": latents.cpu().numpy(), "action": agent.act(chunk)}
        if isinstance(agent, Rainbow):
            outputs["best_q_value"] = agent.judge(latents, agent.online)[1].cpu().numpy()
        found.append(outputs)
    return _joined(found)


def run(file: Path, inputs: np.ndarray) -> Outputs:
    """Return what a file makes of inputs [B, ...], by the names of its outputs; the first observation goes alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        names, (given,) = [each.name for each in session.get_outputs()], session.get_inputs()
        found = [session.run(names, {given.name: chunk}) for chunk in _chunks(inputs)]
    except CANT_RUN as error:
        raise RunError(f"ONNX Runtime can't run {file.name} ({' '.join(str(error).split())[:300]})") from error
    return _joined([dict(zip(names, each, strict=True)) for each in found])


def check(folder: Path, agent: Agent[Any], observations: np.ndarray) -> tuple[Agreement, Outputs]:
    """Run the files on observations [B, S, C, H, W] uint8 and compare them with the agent; returns their outputs too.

    Encoder and policy one after the other have to agree with the agent, and so has `agent.onnx`. A discrete action may
    be another one where its Q-value is the best but for rounding.

    Raises:
        RunError: they differ by more than `TOLERANCE`, or can't be run.
    """
    expected = outputs_of(agent, observations)
    latents = run(folder / ENCODER, observations)
    split, whole = latents | run(folder / POLICY, latents["latents"]), run(folder / AGENT, observations)
    apart, together = compare(expected, split, f"{ENCODER} with {POLICY}"), compare(expected, whole, AGENT)
    worst = {name: max(each, together.differences.get(name, 0.0)) for name, each in apart.differences.items()}
    equal = [each.equal_actions for each in (apart, together) if each.equal_actions is not None]
    return Agreement(len(observations), worst, min(equal, default=None)), split


def compare(expected: Outputs, given: Outputs, name: str, *, tolerance: float = TOLERANCE) -> Agreement:
    """Compare what a file `name` gave with what the agent `expected`; RunError above `tolerance`."""
    found: dict[str, tuple[np.ndarray, float]] = {}
    for key in ("latents",) if "q_values" in given else ("latents", "action"):
        if key in given:
            found[key] = expected[key], float(np.abs(expected[key] - given[key]).max())
    equal = None
    if "q_values" in given:
        found["q_values"] = expected["best_q_value"], _difference_of_choice(expected, given)
        equal = int((expected["action"] == given["action"]).sum())
    for key, (wanted, difference) in found.items():
        limit = tolerance * max(1.0, float(np.abs(wanted).max()))
        if not difference <= limit:  # nan isn't
            raise RunError(f"{name} differs from the agent, {key} by {difference:.2g} where {limit:.2g} is allowed")
    return Agreement(len(expected["action"]), {key: difference for key, (_, difference) in found.items()}, equal)


def _difference_of_choice(expected: Outputs, given: Outputs) -> float:
    """Return the largest difference of best Q-values [B], or of the agent's or the file's choice from the best."""
    values: np.ndarray = given["q_values"]
    best = values.max(1)
    short = [best - np.take_along_axis(values, each["action"][:, None], 1)[:, 0] for each in (expected, given)]
    return float(np.abs([expected["best_q_value"] - best, *short]).max())


def _chunks(inputs: np.ndarray) -> list[np.ndarray]:
    return [chunk for chunk in np.split(inputs, range(1, len(inputs), CHUNK)) if len(chunk)]


def _joined(parts: list[Outputs]) -> Outputs:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
