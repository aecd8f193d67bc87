"""The real commands on a real game, as short as they can be with everything in them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from seer import trainer
from seer.cli import main
from seer.config import Config
from seer.flags import read_settings
from seer.runs.folder import read_metrics
from seer.settings import resolve

STEPS, FREEZE_AT, CAPACITY, FIRST_UPDATE, BATCH, HIDDEN = 1000, 700, 300, 500, 8, 16
FLAGS = (
    *("--env", "ALE/Pong-v5", "--steps", STEPS, "--freeze-at", FREEZE_AT, "--replay-capacity", CAPACITY),
    *("--first-update", FIRST_UPDATE, "--batch-size", BATCH, "--hidden-units", HIDDEN, "--n-step", 5),
    *("--probe-every", 100, "--probe-size", 64),
    *("--target-every", 50, "--log-every", 50, "--checkpoint-every", 250, "--eval-every", 600),
    *("--eval-episodes", 1, "--threads", 1, "--device", "cpu"),
)
CONTROL_FLAGS = (
    *("--env", "dm_control/cartpole-swingup-v0", "--image-size", 50, "--crop-size", 42, "--num-crops", 4),
    *("--batch-size", 8, "--hidden-units", 32, "--first-update", 40, "--random-steps", 40, "--log-every", 20),
    *("--steps", 120, "--freeze-at", 90, "--replay-capacity", 70, "--eval-every", 120, "--eval-episodes", 1),
    *("--checkpoint-every", 50, "--max-episode-steps", 70, "--threads", 1, "--device", "cpu"),
)
"""The replay wraps and an evaluation comes before the freeze, a game ends after it; updates on both sides."""
SHORT_STEPS, SHORT_FIRST_UPDATE = 120, 50
SHORT_FLAGS = (
    *("--env", "ALE/Pong-v5", "--freeze-at", 90, "--first-update", SHORT_FIRST_UPDATE, "--batch-size", 8),
    *("--hidden-units", 16, "--n-step", 5, "--target-every", 20, "--log-every", 10, "--probe-every", 40),
    *("--probe-size", 64, "--eval-every", 1000, "--eval-episodes", 1, "--max-episode-steps", 35, "--device", "cpu"),
)
"""Without a size for the replay; for runs that begin where another ended."""


def seer(*arguments: object, draws: bool = False) -> int:
    """`seer` in this process; returns its exit code. A finished run draws its curve, 0.2 s, only if asked to."""
    curve = contextlib.nullcontext() if draws else patch.object(trainer, "plot_runs", lambda *_, out, **__: out)
    with patch.object(sys, "argv", ["seer", *map(str, arguments)]), curve:
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def config_of(flags: Sequence[str]) -> Config:
    """The config that `seer train` takes these flags for."""
    settings = read_settings(flags)
    return resolve(str(settings["env"]), settings)


# Sends itself a signal in the middle of a step, which no timer could do reliably.
PROGRAM = """
import os, sys
from seer.cli import main
from seer.training import loop

step, signal = int(sys.argv[1]), int(sys.argv[2])
sys.argv[1:] = sys.argv[3:]
collect = loop.collect

def collect_under_fire(run):
    if run.step == step:
        os.kill(os.getpid(), signal)
    return collect(run)

loop.collect = collect_under_fire
main()
"""


def seer_process(*arguments: object, step: int = 0, signal: int = 0) -> subprocess.CompletedProcess[str]:
    """`seer` in a process of its own, which gets `signal` in the middle of training step `step` (0: never)."""
    command = [sys.executable, "-c", PROGRAM, step, int(signal), *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)


def forget_peak() -> None:
    """Let the most memory this process ever had be what it has now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def machine_free(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what depends on the machine: figures with `second` or `rss` in their name, and their seal."""
    return {name: value for name, value in record.items() if not any(part in name for part in ("second", "rss", "sha"))}


def machine_free_records(folder: Path) -> list[dict[str, Any]]:
    """A run's records, without what depends on the machine."""
    return [machine_free(record) for record in read_metrics(folder)]


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: names, and contents of files."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def stop_in_step(step: int, *arguments: object, signal: int) -> int:
    """`seer` in this process, which sends itself `signal` in the middle of training step `step`."""
    from seer.training import loop

    collect = loop.collect

    def collect_under_fire(run: loop.TrainingState) -> dict[str, object]:
        if run.step == step:
            os.kill(os.getpid(), signal)
        return collect(run)

    with patch.object(loop, "collect", collect_under_fire):
        return seer(*arguments)
