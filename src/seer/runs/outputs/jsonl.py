"""metrics.jsonl: one record a line, from which plots and reports are made."""

import errno
import hashlib
import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from seer.errors import SettingError, writing_to
from seer.runs.folder import METRICS_FILE
from seer.runs.outputs.base import Output, Record, State

CHUNK_BYTES = 1 << 20


class JsonlOutput(Output):
    """Append each record to `metrics.jsonl`; when `record` returns the system has it, so a killed process loses none.

    Opened with a checkpoint's state, it removes all later records, so that a resumed run repeats none.
    """

    name = "jsonl"

    def __init__(self, folder: Path) -> None:
        self._path = folder / METRICS_FILE
        self._file: FileIO | None = None
        self._digest = hashlib.sha256()  # of every record

    def open(self, state: State, *, after: int | None) -> None:
        """Open the file; in a resumed run cut off later records than `state`, half a line included.

        SettingError where it doesn't hold the records that the checkpoint counts on.
        """
        if self._path.exists() and not self._path.is_file():
            raise SettingError(f"{self._path} is no file: restore it, or start a new run")
        self._digest = hashlib.sha256()
        with writing_to(self._path):
            self._file = self._path.open("a+b", buffering=0)
            if after is not None:
                self._cut_off(self._file, state["offset"], state["sha256"])

    def record(self, record: Record) -> None:
        assert self._file is not None
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with writing_to(self._path):
            if self._file.write(line) != len(line):  # half a line; resuming drops it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._digest.update(line)

    def state_dict(self) -> State:
        """Return size and sha256 of the file, which is on the disk when this returns."""
        assert self._file is not None
        with writing_to(self._path):
            os.fsync(self._file.fileno())
        return {"offset": self._file.tell(), "sha256": self._digest.hexdigest()}

    def summary(self) -> dict[str, Any]:
        """Return the sha256 of all records."""
        return {"metrics_sha256": self._digest.hexdigest()}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _cut_off(self, file: FileIO, offset: int, sha256: str) -> None:
        """Keep the first `offset` bytes, which must have this sha256."""
        file.seek(0)
        left = offset
        while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
            self._digest.update(chunk)
            left -= len(chunk)
        if left or self._digest.hexdigest() != sha256:
            raise SettingError(
                f"{self._path} is damaged or another run's: its first {offset:,} bytes aren't those that "
                "the checkpoint was written after; restore it, or start a new run"
            )
        file.truncate(offset)
        file.seek(offset)
