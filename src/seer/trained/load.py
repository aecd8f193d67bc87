"""`seer.load`: a trained agent from a run's folder."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seer.agents.agent import Agent
from seer.config import Config
from seer.core.phase import Phase
from seer.envs.base import PixelEnvironment
from seer.envs.randomness import SharedRandomness
from seer.errors import SettingError
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import RunFolder, read_metrics
from seer.runs.snapshots import Weights, acting_weights, list_snapshots, load_weights, read_snapshot
from seer.trained.agent import TrainedAgent
from seer.trained.preparation import Preparation
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.computing import pick_device
from seer.training.load_run import config_of, device_to_play_on, fitting, refuse_other_settings


@dataclass(frozen=True)
class Trained:
    """What training has left of an agent: weights of what acts, and how far it was.

    Attributes:
        decisions: exploring actions so far, on which later ones may depend.
        is_frozen: whether its encoder is.
        origin: the file or folder, for messages.
    """

    step: int
    decisions: int
    is_frozen: bool
    weights: Weights
    origin: Path


def load(path: str | os.PathLike[str], *, step: int | None = None, device: str | None = None) -> TrainedAgent:
    """Return the agent that a run has trained, finished or not.

    Nothing is written, and no generator or thread count of the process is changed.

    Args:
        path: run folder.
        step: of one of the run's snapshots (`--snapshot-every`). Default: the last checkpoint's.
        device: cpu, cuda, cuda:1, or auto. Default: the run's own, or what there is here.

    Raises:
        SettingError: in one line, what is missing, damaged or doesn't fit, and the remedy.
    """
    folder = RunFolder.open(Path(path))
    config = _placed(config_of(folder), device)
    with SharedRandomness().used(config.seed % 2**32):
        environment = build_environment(config, training=False)
    prepare = Preparation(environment.frame_shape, environment.picture_bounds, environment.preparation)
    trained = _last(folder) if step is None else _at(folder, step)
    agent = build_acting(config, environment, trained)
    stack, translation = environment.stack, environment.translation
    environment.close()
    return TrainedAgent(
        agent,
        config,
        step=trained.step,
        phase=phase_of(agent, environment, trained),
        stack=stack,
        prepare=prepare,
        translation=translation,
        source=str(path),
    )


def build_acting(config: Config, environment: Any, trained: Trained) -> Agent[Any]:
    """Return an agent that acts as a trained one; `environment` need have its shapes and actions alone.

    Raises:
        SettingError: the weights are another agent's.
    """
    device = pick_device(config.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), fitting(trained.origin):
        agent = build_agent(config, environment, device)
        if trained.is_frozen:
            agent.freeze(Phase.FROZEN_FRAMES)  # the phase in which exploring makes no latents to store
        load_weights(agent, trained.weights)
        agent.decisions = trained.decisions
    return agent


def phase_of(agent: Agent[Any], environment: PixelEnvironment, trained: Trained) -> Phase:
    """Return the phase that training was in."""
    if not trained.is_frozen:
        return Phase.FRAMES
    channels, height, width = environment.frame_shape
    return Phase.after_freeze(frame_bytes=channels * height * width, latent_bytes=agent.latent.num_bytes)


def _placed(config: Config, device: str | None) -> Config:
    """Return settings with the device to compute on, which is there."""
    chosen = device_to_play_on(config) if device is None else pick_device(device)
    return dataclasses.replace(config, device=str(chosen))


def _last(folder: RunFolder) -> Trained:
    """Return what a run's last checkpoint holds."""
    checkpoint = latest_checkpoint(folder.checkpoints)
    state = load_checkpoint(checkpoint)
    with fitting(checkpoint):
        refuse_other_settings(checkpoint, state["settings"], folder.config)
        agent = state["agent"]
        return Trained(
            step=_step_of(checkpoint),
            decisions=agent["decisions"],
            is_frozen=Phase(agent["phase"]) is not Phase.FRAMES,
            weights=acting_weights(agent["modules"]),
            origin=checkpoint,
        )


def _at(folder: RunFolder, step: int) -> Trained:
    """Return what a run's snapshot of this step holds, or its last checkpoint if that is of this step."""
    snapshots = list_snapshots(folder.path)
    if step in snapshots:
        freezes = [record["step"] for record in read_metrics(folder.path) if record["kind"] == "freeze"]
        return Trained(
            step=step,
            decisions=step,
            is_frozen=any(frozen_at <= step for frozen_at in freezes),
            weights=read_snapshot(snapshots[step]),
            origin=snapshots[step],
        )
    last = _step_of(latest_checkpoint(folder.checkpoints))
    if step != last:
        there = ", ".join(map(str, [*snapshots, last]))
        raise SettingError(f"step {step}: {folder.path} keeps no weights of it; give one of {there}, or none")
    return _last(folder)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
