"""A sweep of real runs on a real game, as short as they can be with a freeze, checkpoints and a score in each."""

import json
from pathlib import Path

import pytest

from seer.runs.checkpoints import complete_folders
from seer.runs.folder import read_metrics
from tiny_run import seer

STEPS, FREEZE_AT, CHECKPOINT_EVERY = 160, 100, 40
SETTINGS = {
    "steps": STEPS, "first-update": 60, "batch-size": 4, "hidden-units": 8, "n-step": 3, "eval-every": STEPS,
    "eval-episodes": 1, "max-episode-steps": 60, "log-every": 20, "checkpoint-every": CHECKPOINT_EVERY,
    "replay-capacity": 200, "device": "cpu",
}  # fmt: skip


def write_grid(folder: Path, *, seeds: int, envs: tuple[str, ...] = ("ALE/Alien-v5",), **settings: object) -> Path:
    """A grid of two variants, frozen and never, in a TOML file."""
    lines = [f"envs = {json.dumps(envs)}", f"seeds = {seeds}", "[settings]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in (SETTINGS | settings).items()]
    lines += ["[variants.seer]", f"freeze-at = {FREEZE_AT}", "[variants.never]", 'freeze-at = "never"']
    file = folder / "grid.toml"
    file.write_text("\n".join(lines))
    return file


def steps_of(run: Path) -> list[int]:
    """Steps of a run's training records; a run that lost or repeated any has others than 20, 40, ..."""
    return [record["step"] for record in read_metrics(run) if record["kind"] == "train"]


def has_checkpoint(run: Path) -> bool:
    return bool(complete_folders(run / "checkpoints"))


def is_finished(run: Path) -> bool:
    return (run / "summary.json").exists()


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr with which `seer` refuses its arguments; it may have printed something before."""
    capsys.readouterr()
    assert seer(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line
