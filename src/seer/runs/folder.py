"""The folder of one run: its lock, its settings, and reading its records.

config.json      the settings, resolved
metrics.jsonl    one record a line: kind, step, frames, flops, wall_seconds, and the record's own metrics
events.out.*     the same metrics for TensorBoard, as kind/name
checkpoints/     see checkpoints.py
summary.json     written when the run ends; summary-at-N.json are those of earlier ends, before it was prolonged
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from seer.core.freeze_rules import names_rule
from seer.errors import RunError, SettingError, writing_to
from seer.runs.checkpoints import read_small, write_atomically

Record = dict[str, Any]
CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, LOCK_FILE = "config.json", "metrics.jsonl", "summary.json", ".lock"
CHANGEABLE = frozenset(
    {
        "out", "device", "threads", "compile", "replay_on", "checkpoint_every", "keep_replay", "snapshot_every",
        "env_timeout", "log",
    }
)  # fmt: skip
"""Settings of where and how a run is computed, which may change on the way. They may change the last digits of metrics;
on another kind of device other random numbers are drawn as well."""
AUTOMATIC = frozenset({"freeze.similarity", "freeze.patience", "freeze.earliest", "freeze.latest"})
"""Settings that only freeze rules read that find the step on the way."""

SHARED_FORMAT = "seer-agent"
"""What `config.json` says in the folder of an agent that `seer card` wrote, which is no run."""

LOCK_TIMEOUT = 1.0
"""Seconds for which a process that wants to write a run waits for its lock."""

MOST_SUMMARY_BYTES = 16 << 20
MOST_CONFIG_BYTES = MOST_RECORD_BYTES = 1 << 20


class RunFolder(AbstractContextManager["RunFolder"]):
    """Hold a run's folder: `create` makes one, `open` finds one. `close` or `with` gives its lock back."""

    def __init__(self, path: Path, config: dict[str, Any], lock: BinaryIO | None) -> None:
        self.path, self.config, self._lock = path, config, lock

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> "RunFolder":
        """Make the folder `path` for a new run of these settings (JSON), and lock it.

        SettingError where something is there already, or nothing can be written there.
        """
        text = _to_json(config)
        with writing_to(f"--out {path}", "choose another folder"), ExitStack() as undo:
            refuse_used(path)
            path.mkdir(parents=True, exist_ok=True)
            folder = undo.enter_context(cls(path, config, lock(path, timeout=LOCK_TIMEOUT)))
            refuse_used(path)  # by a process that was faster, before the lock
            folder.checkpoints.mkdir(exist_ok=True)
            write_atomically(path / CONFIG_FILE, text)
            undo.pop_all()
        return folder

    @classmethod
    def open(cls, path: Path, *, writing: bool = False) -> "RunFolder":
        """Return the run in `path`; `writing` takes its lock, which resuming needs.

        SettingError where the folder holds no readable run, or another process is writing it.
        """
        config = _read_object(path / CONFIG_FILE, MOST_CONFIG_BYTES, "restore it, or start a new run")
        if config is None:
            raise SettingError(f"{path} is no run, it has no {CONFIG_FILE}: give a folder that `seer train` wrote")
        with writing_to(path, "make it writable"):
            return cls(path, config, lock(path, timeout=LOCK_TIMEOUT) if writing else None)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Give the run other settings of these names (JSON); the rest of the file stays, as checkpoints repeat it."""
        if not changes:
            return
        text = _to_json({**self.config, **changes})
        self.config = json.loads(text)
        with writing_to(self.path / CONFIG_FILE):
            write_atomically(self.path / CONFIG_FILE, text)

    @property
    def is_shared(self) -> bool:
        """Tell whether it is the folder of an agent that `seer card` wrote."""
        return self.config.get("format") == SHARED_FORMAT

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the run's checkpoints."""
        return self.path / "checkpoints"

    @property
    def loss(self) -> str | None:
        """Tell what became of the folder where it isn't the run's any more."""
        if not (self.path / CONFIG_FILE).exists():
            return f"{self.path / CONFIG_FILE} is gone: something deleted it while the run went on"
        found = self.path / LOCK_FILE
        if self._lock and found.exists() and not os.path.samestat(os.fstat(self._lock.fileno()), found.stat()):
            return f"{self.path} is another folder by now: this run's was deleted or moved while it went on"
        return None

    def refuse_lost(self) -> None:
        """Raise RunError where the folder, or its settings, were deleted while the run goes on."""
        if loss := self.loss:
            raise RunError(loss)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, whole or not at all."""
        with writing_to(self.path / SUMMARY_FILE):
            write_atomically(self.path / SUMMARY_FILE, _to_json(plain(summary)))

    def set_summary_aside(self, step: int) -> None:
        """Rename the summary, if there is one, to that of the earlier end at `step`: the run goes on."""
        aside = self.path / f"summary-at-{step}.json"
        with writing_to(aside, f"make {self.path} writable"):
            if (self.path / SUMMARY_FILE).exists():
                (self.path / SUMMARY_FILE).replace(aside)

    def close(self) -> None:
        """Give the lock back. (The system does it for a process that ends, however it ends.)"""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_metrics(folder: Path) -> list[Record]:
    """Return the records in a run's `metrics.jsonl`, without a last line that was cut off in the middle.

    SettingError where the file is missing, or another line of it is no record.
    """
    file = folder / METRICS_FILE
    records: list[Record] = []
    digest = hashlib.sha256()
    try:
        if not file.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with file.open("rb") as lines:
            while line := lines.readline(MOST_RECORD_BYTES):
                if not line.endswith(b"\n") and len(line) < MOST_RECORD_BYTES:
                    break  # cut off
                digest.update(line)
                records.append(_record(line, f"{file} is damaged: line {len(records) + 1}"))
    except OSError as error:
        raise SettingError(f"{file} can't be read ({error.strerror}): give a folder that `seer train` wrote") from error
    summary = read_summary(folder)
    if summary is not None and summary.get("metrics_sha256") not in (None, digest.hexdigest()):
        raise SettingError(f"{file} isn't what it was when the run ended, says {SUMMARY_FILE}; restore it")
    return records


def read_summary(folder: Path) -> Record | None:
    """Return the `summary.json` of a finished run; None where there is none, SettingError where it is damaged."""
    return _read_object(folder / SUMMARY_FILE, MOST_SUMMARY_BYTES, "restore it, or leave that run out")


def _read_object(file: Path, most: int, remedy: str) -> dict[str, Any] | None:
    """Return the JSON object in a file of at most so many bytes; None where there is no file."""
    try:
        content = json.loads(read_small(file, most))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingError(f"{file} is damaged ({error}): {remedy}") from error
    if not isinstance(content, dict):
        raise SettingError(f"{file} is foreign: {remedy}")
    return content


def _record(line: bytes, place: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise SettingError(f"{place} is no record; restore it, or leave that run out")
    for name in ("step", "frames", "flops", "wall_seconds"):
        if name in record and not is_number(record[name]):
            raise SettingError(f"{place} has no number as its {name}; restore it, or leave that run out")
    return record


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a config.json that the run reads, by dotted name."""
    settings = dict(flatten(config))
    unread = frozenset() if names_rule(settings.get("freeze.at")) else AUTOMATIC
    return {name: value for name, value in settings.items() if name not in unread}


def flatten(groups: Mapping[str, Any], prefix: str = "", *, between: str = ".") -> Iterator[tuple[str, Any]]:
    """Give what lies in nested groups by joined names: {"freeze": {"at": "auto"}} is ("freeze.at", "auto")."""
    for name, value in groups.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}{between}", between=between)
        else:
            yield f"{prefix}{name}", value


def refuse_used(path: Path) -> None:
    """Raise SettingError where something is in `path` already, but for what `RunFolder.create` leaves when killed."""
    try:
        used = not all(map(_is_left_over, path.iterdir())) if path.is_dir() else path.exists()
    except OSError as error:
        raise SettingError(f"--out {path} can't be read ({error.strerror}): choose another folder") from error
    if used:
        unfinished = (path / CONFIG_FILE).exists() and not (path / SUMMARY_FILE).exists()
        way = f", or go on with `seer resume {path}`" if unfinished else ""
        raise SettingError(f"--out {path} has something in it already: choose another folder{way}")


def _is_left_over(entry: Path) -> bool:
    empty = entry.name == "checkpoints" and entry.is_dir() and not any(entry.iterdir())
    return empty or entry.name in (LOCK_FILE, f".{CONFIG_FILE}.new")


def lock(folder: Path, *, timeout: float = 0.0) -> BinaryIO:
    """Lock a run folder for this process, where the file system has such locks; they end with the process.

    Tries for `timeout` seconds, as other processes take the lock for a moment to see whether it is free. SettingError
    where another process has it.
    """
    file = (folder / LOCK_FILE).open("ab")
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            file.close()
            raise SettingError(
                f"{folder} is being written by another process: wait for it, or choose another --out"
            ) from error
        except OSError:  # some network file systems have no locks
            pass
        return file


def _to_json(value: Any) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"


def plain(value: Any) -> Any:
    """Return a value as JSON has it: scalars of NumPy and PyTorch as numbers, tuples as lists, nan and inf as None."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
