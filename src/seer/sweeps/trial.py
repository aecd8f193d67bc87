"""A trial is one run of a sweep: a config, and a process that brings its run folder to its end from wherever it stands.

    OUT/
      sweep.json        what belongs to the sweep, and why a trial failed (manifest.py)
      runs/NAME/        the run folder of each trial
      logs/NAME.log     what its training printed

Where a trial stands is read from its run folder alone, so a sweep that was killed knows as much as one that was not.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seer.config import Config, config_to_json
from seer.errors import SettingError
from seer.runs.folder import CONFIG_FILE, LOCK_FILE, SUMMARY_FILE, lock

State = Literal["new", "resumable", "finished", "busy"]
STOPPED = 130
"""Exit code of a training that was asked to stop, wrote a checkpoint and can go on."""


@dataclass(frozen=True)
class Entry:
    """A run of a sweep as the sweep's record names it."""

    name: str
    env: str
    variant: str
    seed: int

    def folder(self, root: Path) -> Path:
        return root / "runs" / self.name

    def log(self, root: Path) -> Path:
        return root / "logs" / f"{self.name}.log"


@dataclass(frozen=True)
class Trial(Entry):
    """A run with all of its settings. `after` names a trial that has to finish first."""

    config: Config
    after: str | None = None


@dataclass(frozen=True)
class Needs:
    """CPU threads, bytes of memory, GPUs (Ray only) and bytes of a replay's file that a trial takes while it trains."""

    cpus: int = 1
    num_bytes: int = 0
    gpus: float = 0.0
    file_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """Tell how a training ended. A killed one can go on from its checkpoint; a failed one would fail again."""

    kind: Literal["finished", "stopped", "killed", "failed"]
    reason: str = ""


def state_of(folder: Path) -> State:
    """Tell where a trial stands. "busy": a process is writing the folder, such as one that outlived its sweep."""
    finished = (folder / SUMMARY_FILE).exists()
    try:
        held = lock(folder) if (folder / LOCK_FILE).exists() else None  # looking leaves no file behind
    except SettingError:
        return "busy"
    except OSError:  # a finished one may be where nothing can be written
        return "finished" if finished else "busy"
    if held is not None:
        held.close()
    if finished:
        return "finished"
    return "resumable" if (folder / CONFIG_FILE).exists() else "new"


def start(trial: Trial, root: Path, needs: Needs) -> "subprocess.Popen[bytes]":
    """Start a process that trains the trial (worker.py), in a session of its own so that the terminal's Ctrl-C reaches
    the sweep alone."""
    folder, log = trial.folder(root), trial.log(root)
    log.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "seer.worker", str(os.getpid()), str(folder)], stdin=subprocess.PIPE, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": str(needs.cpus), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # of a process that died at once
        process.stdin.write(json.dumps(config_to_json(trial.config)).encode())
    return process


def outcome_of(trial: Trial, root: Path, exit_code: int) -> Outcome:
    """Return how a trial's training ended."""
    if (trial.folder(root) / SUMMARY_FILE).exists():
        return Outcome("finished")
    if exit_code == STOPPED:
        return Outcome("stopped", "stopped with a checkpoint")
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
        return Outcome("killed", f"killed by {name}{hint}")
    return Outcome("failed", f"{_last_words(trial.log(root))} (exit code {exit_code}, {trial.log(root)})")


def orphaned(trial: Trial, forerunner: Outcome) -> Outcome | None:
    """Return the outcome of a trial whose forerunner ended so: stopped if that one was; None where it may begin."""
    if forerunner.kind == "finished":
        return None
    why = f"needs {trial.after}, which did not finish"
    return Outcome("stopped" if forerunner.kind == "stopped" else "failed", why)


def _last_words(log: Path) -> str:
    """Return the last line of a log: seer's own error, or the last line of a traceback."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip().removeprefix("seer: error: ") if lines else "said nothing"
