"""Outputs of a run's logger, a class each; `OUTPUTS` has those with a short name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seer.errors import SettingError
from seer.registry import imported
from seer.runs.outputs.base import Output, Record, State, scalars
from seer.runs.outputs.services import TrackioOutput, WandbOutput

__all__ = ["OUTPUTS", "Output", "Record", "State", "make_outputs", "refuse_unknown", "scalars"]

OUTPUTS: dict[str, type[Output]] = {"trackio": TrackioOutput, "wandb": WandbOutput}
"""Outputs that `--log` knows by name, beside metrics.jsonl, TensorBoard and the terminal, which every run has. Any
other is given as package.module:Class."""


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise SettingError for a name that is no output's and no place of a class; nothing is imported."""
    for name in names:
        if name not in OUTPUTS and ":" not in name:
            raise SettingError(f"--log {name}: use {', '.join(sorted(OUTPUTS))}, or package.module:Class")


def make_outputs(names: Iterable[str], folder: Path, config: Mapping[str, Any]) -> list[Output]:
    """Return the outputs of a run in `folder` with these settings (JSON); nothing is written yet.

    SettingError where the package of one isn't installed, there is no such class, or two have one name.
    """
    outputs: dict[str, Output] = {}
    for place in names:
        output = (OUTPUTS.get(place) or _imported(place))(folder, config)
        if output.name in outputs:
            raise SettingError(f"--log {place}: another output is called {output.name!r} too; give each once")
        outputs[output.name] = output
    return list(outputs.values())


def _imported(place: str) -> type[Output]:
    found = imported(place, setting="--log", remedy="give package.module:Class")
    if not (isinstance(found, type) and issubclass(found, Output)):
        raise SettingError(f"--log {place} is no subclass of seer.runs.outputs.Output: give one")
    if not isinstance(getattr(found, "name", None), str):
        raise SettingError(f"--log {place} has no name: give the class one, its key in checkpoints")
    return found
