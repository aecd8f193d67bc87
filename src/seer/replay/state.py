"""The replay's state as checkpoints keep it: its memory in pieces, so that unchanged ones aren't written again."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.errors import SettingError

PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes of the memory under a name that, within one run, never stands for two contents.

    It is pickled as a mapping of its name to its bytes, which `torch.load` reads by default.

    Attributes:
        read: returns the bytes, `[P]` uint8, perhaps mapped to a file: copy them out, then let go of them.
    """

    name: str
    read: Callable[[], Tensor]

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
        rows: `[R, ...]`, the block as rows.
        generation: begins the pieces' names, such as "frames".

    Attributes:
        rows: the number of rows in a piece.
        written: `[pieces]` int64, the count of rows written when one was last written into the piece.
    """

    def __init__(self, rows: Tensor, *, generation: str) -> None:
        row_bytes = rows[0].numel() * rows.element_size()
        self._block = rows.reshape(-1).view(torch.uint8)
        self._generation = generation
        self.rows = max(1, PIECE_BYTES // row_bytes)
        self._bytes = self.rows * row_bytes
        self.written: NDArray[np.int64] = np.zeros(math.ceil(len(rows) / self.rows), np.int64)

    def write(self, place: int, count: int) -> None:
        """Note that the row at `place` was the `count`-th to be written."""
        self.written[place // self.rows] = count

    def first(self, num_bytes: int) -> list[Piece]:
        """Return the pieces that make up the first `num_bytes`."""
        return [
            Piece(f"{self._generation}-{index:06d}-{self.written[index]}", self._reader(index, num_bytes))
            for index in range(math.ceil(num_bytes / self._bytes))
        ]

    def load(self, saved: list[Piece | Mapping[str, Tensor]], num_bytes: int) -> None:
        """Copy the first `num_bytes` out of what `first` returned, or of what was pickled of it.

        Raises:
            ValueError: the pieces are of other sizes.
        """
        wanted = self.first(num_bytes)
        pieces = [each if isinstance(each, Piece) else _unpickled(each) for each in saved]
        if [piece.name for piece in pieces] != [piece.name for piece in wanted]:
            raise ValueError("the replay's pieces aren't those of its rows")
        for place, piece in zip(wanted, pieces, strict=True):
            target, source = place.read(), piece.read()
            if source.dtype != torch.uint8 or source.shape != target.shape:
                raise ValueError(f"piece {piece.name} is {source.dtype} {list(source.shape)}, not {list(target.shape)}")
            target.copy_(source)

    def _reader(self, index: int, num_bytes: int) -> Callable[[], Tensor]:
        return lambda: self._block[index * self._bytes : min((index + 1) * self._bytes, num_bytes)]


def refuse_other_settings(saved: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise SettingError for the first setting that the saved replay has otherwise."""
    saved = {"padding": "repeat"} | saved  # which older states had, without saying so
    for name, value in ours.items():
        if saved[name] != value:
            raise SettingError(f"{name} is {value} but the saved replay has {saved[name]}: set it to that")


def as_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with tensors of the same memory for its arrays: `torch.load` trusts them by default."""
    return {name: torch.from_numpy(each) if isinstance(each, np.ndarray) else each for name, each in state.items()}


def as_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """Undo `as_tensors`; older states hold arrays."""
    return {name: each.cpu().numpy() if isinstance(each, Tensor) else each for name, each in state.items()}
