"""The replay's bytes in a file, for a replay larger than memory.

The file is read and written, not mapped: of a mapped file every page that was ever touched counts as resident, and a
page may be 2 MiB large, so that a batch of rows at random would take hundreds of megabytes. Here the process holds
what it has just read. The system keeps of the file what memory others leave it, and gives that back when asked to.

Axes: B batch.
"""

import errno
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import NoReturn

import numpy as np
import psutil
import torch
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import RunError, SettingError
from seer.replay.memory import Block

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems whose files take memory, not disk."""


class FileBlock(Block):
    """The replay's bytes in a file without a name: it takes no other's place and is gone with the process.

    All of its bytes are reserved on the disk at once, where the file system can.

    Args:
        num_bytes: size of the block in bytes.
        folder: where the file lies; it must be there.
        device: where rows go that are read.
        setting: what names the folder for the user, in errors.

    Raises:
        SettingError: the folder is missing, forbidden, not on a disk, or the disk has no room.
    """

    def __init__(
        self, num_bytes: int, folder: Path | str, device: torch.device | str = "cpu", *, setting: str = "path"
    ) -> None:
        super().__init__(num_bytes, device)
        self._place = f"{setting} {folder}"
        refuse_folder(Path(folder), num_bytes, setting=setting)
        try:
            file = tempfile.TemporaryFile(prefix="seer-replay-", dir=folder, buffering=0)  # noqa: SIM115
            weakref.finalize(self, file.close)
            self._file = file.fileno()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file, 0, num_bytes)
            else:
                os.truncate(self._file, num_bytes)  # takes room as it is written
        except OSError as error:
            raise SettingError(
                f"{self._place}: {_gigabytes(num_bytes)} for the replay can't be reserved there ({error.strerror}): "
                "make room or choose another folder"
            ) from error

    def __reduce__(self) -> NoReturn:
        raise SettingError(f"{self._place}: a replay in a file can't be copied or pickled: load its state_dict instead")

    def read(self, start: int, stop: int) -> Tensor:
        content = torch.empty(stop - start, dtype=torch.uint8)
        self._fill(content.numpy().data, start)
        return content.to(self.device)

    def write(self, start: int, content: Tensor) -> None:
        left = content.cpu().numpy().data
        while left:
            try:
                written = os.pwrite(self._file, left, start)
            except OSError as error:
                raise self._failed("written", error) from error
            left, start = left[written:], start + written

    def take(self, row: RowFormat, places: Tensor) -> Tensor:
        index = places.numpy()
        firsts = np.flatnonzero(np.diff(index, prepend=-2) != 1)  # of runs of rows that follow each other
        lengths = np.diff(firsts, append=len(index)) * row.num_bytes
        runs = list(zip((index[firsts] * row.num_bytes).tolist(), lengths.tolist(), strict=True))
        if hasattr(os, "posix_fadvise"):  # so that the disk fetches them side by side
            for start, length in runs:
                os.posix_fadvise(self._file, start, length, os.POSIX_FADV_WILLNEED)
        taken = torch.empty(len(index) * row.num_bytes, dtype=torch.uint8)
        left = taken.numpy().data
        for start, length in runs:
            self._fill(left[:length], start)
            left = left[length:]
        return taken.view(row.dtype).view(len(index), *row.shape).to(self.device)

    def _fill(self, target: memoryview, start: int) -> None:
        """Read as many bytes as `target` has, from `start` on."""
        while target:
            try:
                count = os.preadv(self._file, [target], start)
                if not count:
                    raise OSError(errno.EIO, "it has become shorter")
            except OSError as error:
                raise self._failed("read", error) from error
            target, start = target[count:], start + count

    def _failed(self, done: str, error: OSError) -> RunError:
        return RunError(f"{self._place}: the replay's file there can't be {done} ({error.strerror}): see to that disk")


def refuse_folder(folder: Path, num_bytes: int, *, setting: str) -> None:
    """Refuse a folder where files of so many bytes together can't lie on a disk.

    Raises:
        SettingError: naming `setting`, for a folder that is missing, forbidden or in memory, or a disk without room.
    """
    if not hasattr(os, "preadv"):
        raise SettingError(f"{setting} {folder}: this system can't read a file at a place; keep the replay in memory")
    if not folder.is_dir():
        raise SettingError(f"{setting} {folder} is no folder: make it first, or choose another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"{setting} {folder} can't be written: choose another folder")
    kind = file_system(folder)
    if kind in IN_MEMORY:
        raise SettingError(f"{setting} {folder} lies in memory ({kind}): choose a folder on a disk")
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise SettingError(
            f"{setting} {folder}: the replay takes {_gigabytes(num_bytes)} and {_gigabytes(free)} are free there; "
            "make room, choose another folder, or give a smaller replay"
        )


def file_system(folder: Path) -> str | None:
    """Return the kind of the file system that a folder lies in; None where the system doesn't say."""
    place = folder.resolve()
    mounts = [each for each in psutil.disk_partitions(all=True) if place.is_relative_to(each.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else None


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
