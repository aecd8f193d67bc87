"""The folder of one run: who may write it, what the run was, and every figure it measured.

config.json      the settings, resolved
metrics.jsonl    one record a line: kind, step, frames, flops, wall_seconds, and the record's own figures
events.out.*     the same figures for TensorBoard, as kind/name
checkpoints/     see checkpoint.py
summary.json     written when the run ends
"""

import errno
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from seer.core.freeze_rules import names_rule
from seer.errors import RunError, SettingError
from seer.runs.checkpoints import read_small, write_atomically
from seer.runs.state_files import State

Record = dict[str, Any]
CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, LOCK_FILE = "config.json", "metrics.jsonl", "summary.json", ".lock"
CHANGEABLE = frozenset({"out", "device", "threads", "checkpoint_every", "snapshot_every", "env_timeout"})
"""Settings that say where and how a run is made, not what it is. Of its figures the last digits may depend on them;
on another kind of device other random numbers are drawn as well."""
AUTOMATIC = frozenset({"freeze.similarity", "freeze.patience", "freeze.earliest", "freeze.latest"})
"""Settings that only a freeze rule reads which finds the step on the way."""

PATIENCE = 1.0
"""Seconds that whoever wants to write a run waits for its lock."""

CHUNK_BYTES = 1 << 20
MOST_SUMMARY_BYTES = 16 << 20
MOST_CONFIG_BYTES = MOST_RECORD_BYTES = 1 << 20


class RunFolder:
    """A run's folder: `create` makes one, `open` finds one. `close` or `with` gives its lock back."""

    def __init__(self, path: Path, config: dict[str, Any], lock: BinaryIO | None) -> None:
        self.path, self.config, self._lock = path, config, lock

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> "RunFolder":
        """Make the folder `path` for a new run of these settings (JSON), and lock it.

        Raises:
            SettingError: something is there already, or nothing can be written there.
        """
        text = _to_json(config)
        try:
            refuse_used(path)
            path.mkdir(parents=True, exist_ok=True)
            with ExitStack() as undo:
                folder = undo.enter_context(cls(path, config, lock(path, patience=PATIENCE)))
                refuse_used(path)  # by a process that was faster, before the lock
                folder.checkpoints.mkdir(exist_ok=True)
                write_atomically(path / CONFIG_FILE, text)
                undo.pop_all()
        except OSError as error:
            raise SettingError(f"--out {path} can't be written ({error.strerror}): choose another folder") from error
        return folder

    @classmethod
    def open(cls, path: Path, *, writing: bool = False) -> "RunFolder":
        """The run in `path`; `writing` takes its lock, as going on with it needs.

        Raises:
            SettingError: the folder holds no readable run, or another process is writing it.
        """
        file = path / CONFIG_FILE
        if not file.is_file():
            raise SettingError(f"{path} is no run, it has no {CONFIG_FILE}: give a folder that `seer train` wrote")
        try:
            config = json.loads(read_small(file, MOST_CONFIG_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise SettingError(f"{file} can't be read ({error}): restore it, or start a new run") from error
        if not isinstance(config, dict):
            raise SettingError(f"{file} is foreign: give a folder that `seer train` wrote")
        try:
            return cls(path, config, lock(path, patience=PATIENCE) if writing else None)
        except OSError as error:
            raise SettingError(f"{path} can't be written ({error.strerror}): make it writable") from error

    def change(self, changes: Mapping[str, Any]) -> None:
        """Go on with other `CHANGEABLE` settings; whatever else the file says stays, as the checkpoints say it too.

        Raises:
            SettingError: they can't be written.
        """
        if not changes:
            return
        self.config = {**self.config, **changes}
        try:
            write_atomically(self.path / CONFIG_FILE, _to_json(self.config))
        except OSError as error:
            raise SettingError(f"{self.path / CONFIG_FILE} can't be written ({error.strerror}): make room") from error

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.path / "checkpoints"

    def refuse_lost(self) -> None:
        """RunError where somebody deleted the folder, or its settings, under the run."""
        if not (self.path / CONFIG_FILE).exists():
            raise RunError(f"{self.path / CONFIG_FILE} is gone: something deleted it while the run went on")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, whole or not at all."""
        try:
            write_atomically(self.path / SUMMARY_FILE, _to_json(_plain(summary)))
        except OSError as error:
            raise SettingError(f"{self.path / SUMMARY_FILE} can't be written ({error.strerror}): make room") from error

    def close(self) -> None:
        """Give the lock back. (The system does it for a process that ends, however it ends.)"""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Metrics:
    """The figures of a run, appended to `metrics.jsonl` and to TensorBoard's events.

    When `record` returns, the system has the record: a killed process loses none. `state_dict` belongs in
    every checkpoint, taken after the last record of its step. `load_state_dict` drops what was recorded
    later: a resumed run repeats no record, and its `wall_seconds` goes on from there.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / METRICS_FILE
        if file.exists() and not file.is_file():
            raise SettingError(f"{file} is no file: restore it, or start a new run")
        self._file = file.open("a+b", buffering=0)
        self._digest = hashlib.sha256()  # of every record
        # Event files are named by the second: numbered, two of the same second stay apart and in order.
        number = len(list(folder.glob("events.out.*")))
        self._events = EventsWriter(str(folder / "events"), filename_suffix=f".{number:04d}")
        self._last_step = 0
        self._seconds_before = 0.0
        self._started = time.perf_counter()

    @property
    def sha256(self) -> str:
        """Of all records so far."""
        return self._digest.hexdigest()

    @property
    def wall_seconds(self) -> float:
        """Wall time of the run in seconds, up to the checkpoint it resumed from and since."""
        return self._seconds_before + time.perf_counter() - self._started

    def record(self, kind: str, *, step: int, frames: int, flops: int, **figures: Any) -> Record:
        """Append one record, and return it as written.

        A figure is a number, string, bool, None, or a list or dict of those. One that depends on the machine
        has `second` or `rss` in its name, and no other has. JSON has no nan or infinity: they become null.

        Raises:
            SettingError: the disk is full or forbidden.
        """
        moment = {"step": step, "frames": frames, "flops": flops, "wall_seconds": round(self.wall_seconds, 3)}
        figures = _plain(figures)
        record = {"kind": kind, **_plain(moment), **figures}
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self._writing():
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # cut off; resuming drops what there is
            self._mirror(kind, step, figures)
        self._digest.update(line)
        self._last_step = max(step, self._last_step)
        return record

    def state_dict(self) -> State:
        """What resuming needs; the records so far are on the disk when this returns."""
        with self._writing():
            os.fsync(self._file.fileno())
        return {
            "offset": self._file.tell(),
            "sha256": self._digest.hexdigest(),
            "last_step": self._last_step,
            "wall_seconds": self.wall_seconds,
        }

    def load_state_dict(self, state: State) -> None:
        """Forget all that was recorded after `state_dict`, a line cut off in the middle included.

        Raises:
            SettingError: `metrics.jsonl` doesn't hold the records that the checkpoint counts on.
        """
        offset, self._digest = state["offset"], hashlib.sha256()
        self._file.seek(0)
        left = offset
        while left > 0 and (chunk := self._file.read(min(left, CHUNK_BYTES))):
            self._digest.update(chunk)
            left -= len(chunk)
        if left or self._digest.hexdigest() != state["sha256"]:
            raise SettingError(
                f"{self._file.name} is damaged or another run's: its first {offset:,} bytes aren't those that "
                "the checkpoint was written after; restore it, or start a new run"
            )
        self._file.truncate(offset)
        self._file.seek(offset)
        self._last_step = state["last_step"]
        self._seconds_before, self._started = state["wall_seconds"], time.perf_counter()
        # TensorBoard hides the events from this step on that it read before.
        self._events.write_event(
            Event(
                step=self._last_step + 1,
                wall_time=time.time(),
                session_log=SessionLog(status=SessionLog.START),
            )
        )

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        with suppress(OSError):  # a full disk has been reported
            self._events.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SettingError(f"{self._file.name} can't be written ({error.strerror}): make room there") from error

    def _mirror(self, kind: str, step: int, figures: Record) -> None:
        values = [
            Summary.Value(tag=f"{kind}/{name}", simple_value=value)
            for name, value in figures.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        if values:
            self._events.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
            self._events.flush()


def read_metrics(folder: Path) -> list[Record]:
    """The records in a run's `metrics.jsonl`, without a last line that was cut off in the middle.

    Raises:
        SettingError: the file is missing, or another line of it is no record.
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
    """What a finished run left in `summary.json`; None where there is none.

    Raises:
        SettingError: it is damaged.
    """
    file = folder / SUMMARY_FILE
    try:
        summary = json.loads(read_small(file, MOST_SUMMARY_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingError(f"{file} is damaged ({error}): restore it, or leave that run out") from error
    if not isinstance(summary, dict):
        raise SettingError(f"{file} is foreign: restore it, or leave that run out")
    return summary


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
    """A finite one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json by dotted name, without those that the run doesn't read."""
    settings = dict(flatten(config))
    unread = frozenset() if names_rule(settings.get("freeze.at")) else AUTOMATIC
    return {name: value for name, value in settings.items() if name not in unread}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name, such as "freeze.at"."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def refuse_used(path: Path) -> None:
    """SettingError where something is in `path` already."""
    try:
        used = any(entry.name != LOCK_FILE for entry in path.iterdir()) if path.is_dir() else path.exists()
    except OSError as error:
        raise SettingError(f"--out {path} can't be read ({error.strerror}): choose another folder") from error
    if used:
        unfinished = (path / CONFIG_FILE).exists() and not (path / SUMMARY_FILE).exists()
        way = f", or go on with `seer resume {path}`" if unfinished else ""
        raise SettingError(f"--out {path} has something in it already: choose another folder{way}")


def lock(folder: Path, *, patience: float = 0.0) -> BinaryIO | None:
    """Lock a run folder for this process, where the system has such locks; they end with the process.

    Tries for `patience` seconds: others take the lock for a moment to see whether it is free.

    Raises:
        SettingError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = (folder / LOCK_FILE).open("ab")
    end = time.monotonic() + patience
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


def _plain(value: Any) -> Any:
    """As JSON has it: scalars of NumPy and PyTorch as numbers, tuples as lists, nan and infinity as None."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
