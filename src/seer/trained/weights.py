"""Weights as a run keeps them, and the agent that acts with them."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seer.config import Config
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, step_of
from seer.runs.folder import RunFolder, read_metrics
from seer.runs.snapshots import Weights, acting_weights, list_snapshots, load_weights, read_snapshot
from seer.trained.agent import TrainedAgent
from seer.trained.interface import Interface
from seer.training.build_agent import build_agent
from seer.training.computing import pick_device
from seer.training.load_run import device_to_play_on, fitting, refuse_other_settings


@dataclass(frozen=True)
class Trained:
    """Hold the weights of the networks that act, and how far training was.

    Attributes:
        decisions: exploring actions so far, on which later ones may depend.
        is_frozen: whether the encoder is.
        weights: by the names of snapshots.
        origin: the file or folder, for messages.
    """

    step: int
    decisions: int
    is_frozen: bool
    weights: Weights
    origin: Path


def read_trained(folder: RunFolder, step: int | None) -> Trained:
    """Return the weights of a run's snapshot of this step or, without a step, of its last checkpoint."""
    snapshots = {} if step is None else list_snapshots(folder.path)
    if step in snapshots:
        return _of_snapshot(folder, step, snapshots[step])
    checkpoint = latest_checkpoint(folder.checkpoints)
    if step not in (None, last := step_of(checkpoint)):
        there = ", ".join(map(str, [*snapshots, last]))
        raise SettingError(f"step {step}: {folder.path} keeps no weights of it; give one of {there}, or none")
    state = load_checkpoint(checkpoint)
    with fitting(checkpoint):
        refuse_other_settings(checkpoint, state["settings"], folder.config)
        agent = state["agent"]
        return Trained(
            step=last,
            decisions=agent["decisions"],
            is_frozen=Phase(agent["phase"]) is not Phase.FRAMES,
            weights=acting_weights(agent["modules"]),
            origin=checkpoint,
        )


def make_trained(
    config: Config, interface: Interface, trained: Trained, *, device: str | None, source: Path
) -> TrainedAgent:
    """Return the agent that acts with these weights, on `device` or, without one, where the run did if that is here."""
    place = device_to_play_on(config) if device is None else pick_device(device)
    config = dataclasses.replace(config, device=str(place))
    described: Any = interface  # build_agent asks an environment for nothing else
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), fitting(trained.origin):
        agent = build_agent(config, described, place)
        if trained.is_frozen:
            agent.freeze(Phase.FROZEN_FRAMES)  # the phase in which exploring makes no latents to store
        load_weights(agent, trained.weights)
        agent.decisions = trained.decisions
        agent.online.eval()
    phase = Phase.FRAMES
    if trained.is_frozen:
        frame_bytes, latent_bytes = math.prod(interface.frame_shape), agent.latent.num_bytes
        phase = Phase.after_freeze(frame_bytes=frame_bytes, latent_bytes=latent_bytes)
    return TrainedAgent(agent, config, interface=interface, step=trained.step, phase=phase, source=str(source))


def _of_snapshot(folder: RunFolder, step: int, snapshot: Path) -> Trained:
    freezes = [record["step"] for record in read_metrics(folder.path) if record["kind"] == "freeze"]
    is_frozen = any(frozen_at <= step for frozen_at in freezes)
    decisions = step + _decided_before(folder)
    return Trained(step, decisions=decisions, is_frozen=is_frozen, weights=read_snapshot(snapshot), origin=snapshot)


def _decided_before(folder: RunFolder) -> int:
    """Return the exploring actions of another run that the agent began with, by `--from`."""
    if folder.config["freeze"].get("agent_from") is None:  # older runs can't have any
        return 0
    checkpoint = latest_checkpoint(folder.checkpoints)
    return int(load_checkpoint(checkpoint)["agent"]["decisions"]) - step_of(checkpoint)
