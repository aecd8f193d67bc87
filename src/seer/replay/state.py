"""Pieces of the replay's memory, as checkpoints keep them: what hasn't changed isn't written again."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes, uint8 [P], whose name says which they are: within one run, a name never stands for two contents.

    `read` gives the bytes, perhaps mapped to a file: copy them out, then let go of them. A pickled piece holds them, as
    a mapping of its name to them, which `torch.load` reads by default.
    """

    name: str
    read: Callable[[], Tensor]

    def __reduce__(self) -> tuple[Any, ...]:
        content = torch.from_numpy(self.read().cpu().numpy())  # these bytes alone, not the block they are a part of
        return OrderedDict, ([(self.name, content)],)

    def __deepcopy__(self, _memo: object) -> "Piece":
        return _holding(self.name, self.read().cpu().numpy().copy())


def _holding(name: str, content: NDArray[np.uint8]) -> Piece:
    return Piece(name, partial(torch.from_numpy, content))


def _unpickled(content: Mapping[str, Tensor]) -> Piece:
    ((name, read),) = content.items()
    return Piece(name, lambda: read)


class Pieces:
    """The rows of an arena in pieces of about 16 MiB, and when each was last written to.

    Args:
        rows: `[R, ...]`, the arena as rows.
        generation: names what rows hold, such as "frames".
    """

    def __init__(self, rows: Tensor, *, generation: str) -> None:
        row_bytes = rows[0].numel() * rows.element_size()
        self._block = rows.reshape(-1).view(torch.uint8)
        self._generation = generation
        self.rows = max(1, PIECE_BYTES // row_bytes)
        self._bytes = self.rows * row_bytes
        self.written: NDArray[np.int64] = np.zeros(math.ceil(len(rows) / self.rows), np.int64)

    def write(self, place: int, count: int) -> None:
        """The row at `place` was the `count`-th to be written."""
        self.written[place // self.rows] = count

    def first(self, num_bytes: int) -> list[Piece]:
        """The pieces that make up the first `num_bytes`."""
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
