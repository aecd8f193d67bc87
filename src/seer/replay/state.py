"""The replay's state as checkpoints keep it: its memory in pieces, so that unchanged ones aren't written again."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import SettingError
from seer.replay.memory import Block

PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes of the memory under a name that, within one run, never stands for two contents.

    It is pickled as a mapping of its name to its bytes, which `torch.load` reads by default.

    Attributes:
        read: returns the bytes, `[P]` uint8, perhaps mapped to a file: copy them out, then let go of them.
        file: whose last bytes they are, if it is one that nothing writes to.
    """

    name: str
    read: Callable[[], Tensor]
    file: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        content = torch.from_numpy(self.read().cpu().numpy())  # these bytes alone, not the block they are a part of
        return OrderedDict, ([(self.name, content)],)

    def __deepcopy__(self, _memo: object) -> "Piece":
        content = self.read().to("cpu", copy=True)
        return Piece(self.name, lambda: content)


def _unpickled(content: Mapping[str, Tensor]) -> Piece:
    ((name, read),) = content.items()
    return Piece(name, lambda: read)


class Pieces:
    """A memory block cut into pieces of about 16 MiB, and when each was last written to.

    Args:
        memory: the block.
        row: what it holds.
        generation: begins the pieces' names, such as "frames".

    Attributes:
        rows: the number of rows in a piece.
        written: `[pieces]` int64, the count of rows written when one was last written into the piece.
    """

    def __init__(self, memory: Block, row: RowFormat, *, generation: str) -> None:
        self._memory, self._generation = memory, generation
        self.rows = max(1, PIECE_BYTES // row.num_bytes)
        self._bytes = self.rows * row.num_bytes
        num_rows = memory.num_bytes // row.num_bytes
        self.written: NDArray[np.int64] = np.zeros(math.ceil(num_rows / self.rows), np.int64)

    def write(self, place: int, count: int) -> None:
        """Note that the row at `place` was the `count`-th to be written."""
        self.written[place // self.rows] = count

    def first(self, num_bytes: int) -> list[Piece]:
        """Return the pieces that make up the first `num_bytes`."""
        return [
            Piece(f"{self._generation}-{index:06d}-{self.written[index]}", partial(self._memory.read, start, stop))
            for index, (start, stop) in enumerate(self._ends(num_bytes))
        ]

    def load(self, saved: list[Piece | Mapping[str, Tensor]], num_bytes: int) -> None:
        """Take the first `num_bytes` from what `first` returned, or of what was pickled of it.

        Raises:
            ValueError: the pieces are of other sizes.
        """
        wanted = self.first(num_bytes)
        pieces = [each if isinstance(each, Piece) else _unpickled(each) for each in saved]
        if [piece.name for piece in pieces] != [piece.name for piece in wanted]:
            raise ValueError("the replay's pieces aren't those of its rows")
        for (start, stop), piece in zip(self._ends(num_bytes), pieces, strict=True):
            source = piece.read()
            if source.dtype != torch.uint8 or source.shape != (stop - start,):
                raise ValueError(f"piece {piece.name} is {source.dtype} {list(source.shape)}, not [{stop - start}]")
            if piece.file is None or not self._memory.borrow(start, stop, piece.file):
                self._memory.write(start, source)

    def _ends(self, num_bytes: int) -> list[tuple[int, int]]:
        """Return where each piece of the first `num_bytes` begins and ends."""
        return [(start, min(start + self._bytes, num_bytes)) for start in range(0, num_bytes, self._bytes)]


def refuse_other_settings(saved: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise SettingError for the first setting that the saved replay has otherwise."""
    if saved.get("padding", "repeat") != "repeat":  # an older state, whose black frames aren't among its rows
        raise SettingError("the saved replay was made with padding='zero', which is no more: fill a new one")
    for name, value in ours.items():
        if saved[name] != value:
            raise SettingError(f"{name} is {value} but the saved replay has {saved[name]}: set it to that")


def as_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with tensors of the same memory for its arrays: `torch.load` trusts them by default."""
    return {name: torch.from_numpy(each) if isinstance(each, np.ndarray) else each for name, each in state.items()}


def as_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """Undo `as_tensors`; older states hold arrays."""
    return {name: each.cpu().numpy() if isinstance(each, Tensor) else each for name, each in state.items()}
