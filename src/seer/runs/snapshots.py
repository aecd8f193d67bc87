"""Snapshots: the weights of a run at some of its steps, to see later how its layers settled.

RUN/snapshots/step-000010000.safetensors holds the networks that act: the online one and, where there is one, the actor.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from seer.agents.agent import Agent
from seer.errors import SettingError, writing_to
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, step_of
from seer.runs.state_files import check_seal, write_blocks

FOLDER = "snapshots"
MOST_BYTES = 1 << 30  # the largest agents have 40 MB
ACTING = ("online", "actor")

Weights = dict[str, torch.Tensor]
"""Weights by the names of the agent's modules and their parameters: "online.encoder.stages.0.weight"."""


def save_snapshot(run: Path, step: int, agent: Agent[Any]) -> Path:
    """Write the weights of `step`, in place of those of an earlier try at the same step."""
    final = run / FOLDER / f"step-{step:09d}.safetensors"
    unfinished = final.with_name(f".{final.name}.new")
    with writing_to(f"snapshot {final}"):
        final.parent.mkdir(exist_ok=True)
        write_blocks(unfinished, acting_weights(agent.state_dict()["modules"]), sealed=True)
        unfinished.replace(final)
    return final


def list_snapshots(run: Path) -> dict[int, Path]:
    """Return the snapshots of a run by step, oldest first."""
    found = {snapshot_step(path): path for path in sorted((run / FOLDER).glob("step-*.safetensors"))}
    return {step: path for step, path in found.items() if step is not None}


def snapshot_step(snapshot: Path) -> int | None:
    """Return the step in a snapshot's file name; None for any other file."""
    found = re.fullmatch(r"step-(\d{9,18})\.safetensors", snapshot.name)
    return int(found[1]) if found else None


def source_name(source: str) -> str:
    """Return the name of a run that another began with, or of a snapshot in it: RUN/snapshots/FILE."""
    place = Path(os.path.abspath(source))  # noqa: PTH100  # it may lie elsewhere: not looked at
    return Path(*place.parts[-3:]).as_posix() if place.parent.name == FOLDER else place.name


def read_snapshot(path: Path) -> Weights:
    """Return the weights in one snapshot; SettingError where the file is missing or damaged."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is no file, or has more than {MOST_BYTES:,} bytes")
        check_seal(path)
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(f"snapshot {path} is damaged or none ({error}); delete it to go on without") from error


def read_last(run: Path) -> tuple[int, Weights]:
    """Return step and weights of a run's last checkpoint, in the form of a snapshot; SettingError as for loading it."""
    path = latest_checkpoint(run / "checkpoints")
    return step_of(path), acting_weights(load_checkpoint(path)["agent"]["modules"])


def acting_weights(modules: dict[str, Weights]) -> Weights:
    """Return the weights of the modules that act, from those in an agent's state."""
    chosen = {name: modules[name] for name in ACTING if name in modules}
    return {f"{name}.{key}": weight for name, weights in chosen.items() for key, weight in weights.items()}


def load_weights(agent: Agent[Any], weights: Weights) -> None:
    """Give an agent the weights of a snapshot; its target keeps its own. SettingError for those of another agent."""
    for name, module in agent.modules().items():
        if name in ACTING:
            parts = {key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")}
            try:
                module.load_state_dict(parts)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise SettingError(
                    f"a snapshot doesn't fit config.json ({reason}); restore the one or the other"
                ) from error
