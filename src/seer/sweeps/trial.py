"""A trial is one run of a sweep: a folder, and the `seer` command that brings it to its end from wherever it stands.

    OUT/
      sweep.json        what belongs to the sweep, and why a trial failed (`Manifest`)
      runs/NAME/        the run folder of each trial
      logs/NAME.log     what its command printed
      abandoned/        runs that died before their first checkpoint, and so were started anew

Where a trial stands is read from its run folder alone, so a sweep that was killed knows as much as one that was not.
"""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seer.errors import SettingError
from seer.training.checkpoint import latest_checkpoint, write_atomically
from seer.training.run import CHANGEABLE, LOCK_FILE, SUMMARY_FILE, lock

State = Literal["new", "dead", "resumable", "finished", "busy"]
MANIFEST_FILE = "sweep.json"
STOPPED = 130
"""Exit code of a training that was asked to stop, wrote a checkpoint and can go on."""


@dataclass(frozen=True)
class Trial:
    """One run: `flags` are those of `seer train`, without --out. `after` names a trial that has to finish first."""

    name: str
    env: str
    arm: str
    seed: int
    flags: tuple[str, ...]
    after: str | None = None

    def folder(self, root: Path) -> Path:
        """Its run folder in the sweep's folder."""
        return root / "runs" / self.name

    def log(self, root: Path) -> Path:
        """What its command printed."""
        return root / "logs" / f"{self.name}.log"


@dataclass(frozen=True)
class Needs:
    """What a trial takes while it trains: CPU threads, bytes of memory, GPUs (Ray only)."""

    cpus: int = 1
    num_bytes: int = 0
    gpus: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a trial's command ended. A killed one can go on from its checkpoint; a failed one would fail again."""

    kind: Literal["finished", "stopped", "killed", "failed"]
    reason: str = ""


@dataclass(frozen=True)
class Manifest:
    """A sweep's trials, and why those that failed did."""

    title: str
    trials: tuple[Trial, ...]
    failures: dict[str, str] = dataclasses.field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_atomically(file, json.dumps(dataclasses.asdict(self), indent=2).encode() + b"\n")

    def joined(self, file: Path) -> "Manifest":
        """With what the manifest in `file`, if there is one, says of trials that this one knows nothing about.

        Raises:
            SettingError: it is damaged.
        """
        if not file.exists():
            return self
        earlier = self.read(file)
        names = {trial.name for trial in self.trials}
        others = tuple(trial for trial in earlier.trials if trial.name not in names)
        return Manifest(self.title, (*others, *self.trials), earlier.failures | self.failures)

    @classmethod
    def read(cls, file: Path) -> "Manifest":
        """The manifest in `file`.

        Raises:
            SettingError: there is none, or it is none.
        """
        try:
            record: dict[str, Any] = json.loads(file.read_bytes())
            trials = tuple(Trial(**(trial | {"flags": tuple(trial["flags"])})) for trial in record["trials"])
            return cls(record["title"], trials, record["failures"])
        except OSError as error:
            raise SettingError(f"{file} can't be read ({error.strerror}): give the folder of a sweep") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SettingError(f"{file} is no record of a sweep: give one that `seer sweep` wrote") from error


def manifests_in(folder: Path) -> list[Manifest]:
    """What `seer sweep` (sweep.json) and `seer reproduce` (fig3.json) recorded in a folder, in order of their names.

    Raises:
        SettingError: one is damaged.
    """
    return [Manifest.read(file) for file in sorted(folder.glob("*.json")) if _names_trials(file)]


def _names_trials(file: Path) -> bool:
    try:
        return b'"trials"' in file.read_bytes()
    except OSError:
        return file.is_file()  # for `Manifest.read` to complain of


def state_of(folder: Path) -> State:
    """Where a trial stands. "busy": a process is writing the folder, such as one that outlived its sweep."""
    if not folder.is_dir() or all(entry.name == LOCK_FILE for entry in folder.iterdir()):
        return "new"
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
    try:
        latest_checkpoint(folder / "checkpoints")
    except SettingError:
        return "dead"
    return "resumable"


def command_of(trial: Trial, root: Path) -> list[str]:
    """The `seer` command that starts a new trial or goes on with a resumable one."""
    folder = trial.folder(root)
    if state_of(folder) == "resumable":
        return ["resume", str(folder), *_changeable(trial.flags)]
    return ["train", *trial.flags, "--out", str(folder)]


def _changeable(flags: Sequence[str]) -> list[str]:
    """Those of a trial's flags that `seer resume` takes too."""
    taken: list[str] = []
    for flag, value in itertools.zip_longest(flags, flags[1:], fillvalue=""):
        name, is_joined, _ = flag.partition("=")
        if name.startswith("--") and name[2:].replace("-", "_") in CHANGEABLE - {"out"}:
            taken += [flag] if is_joined else [flag, value]
    return taken


def start(trial: Trial, root: Path, needs: Needs) -> "subprocess.Popen[bytes]":
    """Start the trial's command, in a session of its own so that the terminal's Ctrl-C reaches the sweep alone.

    On Linux the training is told to stop when this process dies, however it dies (`leash.py`).
    """
    folder, log = trial.folder(root), trial.log(root)
    if state_of(folder) == "dead":
        _abandon(folder, root)
    command = [sys.executable, "-m", "seer", *command_of(trial, root)]
    if sys.platform == "linux":
        command = [sys.executable, "-m", "seer.sweeps.leash", str(os.getpid()), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": str(needs.cpus), "PYTHONUNBUFFERED": "1"},
        )


def outcome_of(trial: Trial, root: Path, exit_code: int) -> Outcome:
    """What became of a trial whose command has ended."""
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
    """What becomes of a trial whose forerunner ended so: it is stopped if that one was; None where it may begin."""
    if forerunner.kind == "finished":
        return None
    kind: Literal["stopped", "failed"] = "stopped" if forerunner.kind == "stopped" else "failed"
    return Outcome(kind, f"needs {trial.after}, which did not finish")


def ready(trials: Sequence[Trial], finished: set[str]) -> list[Trial]:
    """The trials whose forerunner, if they have one, has finished."""
    return [trial for trial in trials if trial.after is None or trial.after in finished]


def _abandon(folder: Path, root: Path) -> None:
    """Move a run without a checkpoint out of the way; half a checkpoint is of no use to anyone."""
    for unfinished in folder.glob("checkpoints/.writing-*"):
        shutil.rmtree(unfinished)
    heap = root / "abandoned"
    heap.mkdir(exist_ok=True)
    number = len(list(heap.glob(f"{folder.name}.*"))) + 1
    folder.rename(heap / f"{folder.name}.{number}")


def _last_words(log: Path) -> str:
    """The error a command ended with: seer's own line, or the last line of a traceback."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    errors = [line.removeprefix("seer: error: ") for line in lines if line.startswith("seer: error: ")]
    return errors[-1] if errors and lines[-1].startswith("seer: error: ") else (lines or ["said nothing"])[-1]
