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
from seer.replay.borrowed import Borrowed, Part
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
        self._place, self._borrowed = f"{setting} {folder}", Borrowed()
        weakref.finalize(self, self._borrowed.close)
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
        return self._read(self._where(start, stop - start)).to(self.device)

    def write(self, start: int, content: Tensor) -> None:
        if self._borrowed:
            self._bring_home(start, start + len(content))
        self._write(start, content)

    def borrow(self, start: int, stop: int, file: Path) -> bool:
        """See `Block.borrow`; only of a file on the same disk, since another may be slower."""
        if file.stat().st_dev != os.fstat(self._file).st_dev:
            return False
        self._bring_home(start, stop)
        return self._borrowed.add(start, stop, file)

    def _bring_home(self, start: int, stop: int) -> None:
        """Copy into the block's own file what was borrowed around the bytes from `start` to `stop`; give those back."""
        for stretch in self._borrowed.within(start, stop):
            written_over = start <= stretch.start and stretch.stop <= stop
            content = None if written_over else self._read([stretch.part(stretch.start, stretch.stop - stretch.start)])
            self._borrowed.remove(stretch)
            if content is not None:
                self._write(stretch.start, content)

    def _write(self, start: int, content: Tensor) -> None:
        """Write into the block's own file."""
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
        parts = [
            part
            for start, length in zip((index[firsts] * row.num_bytes).tolist(), lengths.tolist(), strict=True)
            for part in self._where(start, length)
        ]
        if hasattr(os, "posix_fadvise"):  # so that the disk fetches them side by side
            for file, place, length in parts:
                os.posix_fadvise(file, place, length, os.POSIX_FADV_WILLNEED)
        return self._read(parts).view(row.dtype).view(len(index), *row.shape).to(self.device)

    def _where(self, start: int, length: int) -> list[Part]:
        """Return where so many bytes from `start` on lie."""
        if not self._borrowed:
            return [(self._file, start, length)]
        parts = []
        while length:
            stretch, stop = self._borrowed.at(start)
            here = min(length, stop - start)
            parts.append((self._file, start, here) if stretch is None else stretch.part(start, here))
            start, length = start + here, length - here
        return parts

    def _read(self, parts: list[Part]) -> Tensor:
        """Return the bytes of these parts, one after the other, in main memory."""
        content = torch.empty(sum(length for _, _, length in parts), dtype=torch.uint8)
        left = content.numpy().data
        for file, start, length in parts:
            target, left, place = left[:length], left[length:], start
            while target:
                try:
                    count = os.preadv(file, [target], place)
                    if not count:
                        raise OSError(errno.EIO, "it has become shorter")
                except OSError as error:
                    raise self._failed("read", error) from error
                target, place = target[count:], place + count
        return content

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
