"""Stretches of the replay's file that still lie in other files, those of a checkpoint, from which they are read."""

import contextlib
import os
import sys
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

LOWEST_DESCRIPTOR = 1024
"""Numbers below it are left to others: `select` can't watch files from this number on."""

MOST_FILES = 1 << 16


Part = tuple[int, int, int]
"""Bytes in a file: its descriptor, their place there, and how many they are."""


class Stretch(NamedTuple):
    """Bytes from `start` to `stop` of one file, which lie in another: the byte at 0 would be at `shift` there."""

    start: int
    stop: int
    descriptor: int
    shift: int

    def part(self, start: int, length: int) -> Part:
        """Return where so many of its bytes from `start` on lie."""
        return self.descriptor, start + self.shift, length


class Borrowed:
    """Stretches that don't overlap, each with its file, which stays open: it may lose its name meanwhile."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        self._starts: list[int] = []  # theirs, which are looked through for every row

    def __len__(self) -> int:
        return len(self._stretches)

    def add(self, start: int, stop: int, file: Path) -> bool:
        """Borrow the stretch that is the last bytes of `file`; False where the process may open no more files."""
        if not self._stretches:
            _allow_more_files()
        try:
            descriptor = _keep_open(file)
        except OSError:
            return False
        shift = os.fstat(descriptor).st_size - stop
        index = self._after(start)
        self._starts.insert(index, start)
        self._stretches.insert(index, Stretch(start, stop, descriptor, shift))
        return True

    def at(self, place: int) -> tuple[Stretch | None, int]:
        """Return the stretch around the byte at `place`, and where it ends; or None, and where the next begins."""
        index = self._after(place)
        if index and place < self._stretches[index - 1].stop:
            return self._stretches[index - 1], self._stretches[index - 1].stop
        return None, self._stretches[index].start if index < len(self) else sys.maxsize

    def within(self, start: int, stop: int) -> list[Stretch]:
        """Return all that have a byte from `start` to `stop`."""
        begun = self._stretches[max(0, self._after(start) - 1) : self._after(stop - 1)]
        return [each for each in begun if start < each.stop]

    def remove(self, stretch: Stretch) -> None:
        """Give one back."""
        index = self._starts.index(stretch.start)
        del self._starts[index], self._stretches[index]
        os.close(stretch.descriptor)

    def close(self) -> None:
        """Give all back."""
        for stretch in list(self._stretches):
            self.remove(stretch)

    def _after(self, place: int) -> int:
        """Return how many begin at `place` or before it."""
        return bisect_right(self._starts, place)


def _keep_open(file: Path) -> int:
    """Return a descriptor of a file, to read from."""
    import fcntl  # not on Windows, where no replay lies in a file

    with file.open("rb") as opened:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR)


def _allow_more_files() -> None:
    """Raise the number of files that this process may have open, which is often 1,024, as far as the system lets it."""
    import resource  # not on Windows either

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
