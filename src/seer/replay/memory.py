"""One block of bytes, allocated once, that can be read as rows of any format."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import SettingError

_SWAP_BYTES = 4 * 2**20  # `Block.rotate` holds at most a few pieces of this size beside the block


class Block(ABC):
    """The replay's bytes, wherever they lie. They are allocated once, not initialised, and never move.

    Args:
        num_bytes: size of the block in bytes.
        device: where what is read goes.

    Raises:
        SettingError: `num_bytes` isn't positive.
    """

    def __init__(self, num_bytes: int, device: torch.device | str) -> None:
        if num_bytes <= 0:
            raise SettingError(f"replay memory is {num_bytes} bytes: give it a positive size")
        self.num_bytes, self.device = num_bytes, torch.device(device)

    @abstractmethod
    def read(self, start: int, stop: int) -> Tensor:
        """Return bytes `[stop - start]` uint8, perhaps a view of the block: don't write to it."""

    @abstractmethod
    def write(self, start: int, content: Tensor) -> None:
        """Overwrite the bytes from `start` on by `content` `[n]` uint8, on any device."""

    @abstractmethod
    def take(self, row: RowFormat, places: Tensor) -> Tensor:
        """Return copies of the rows at `places` `[B]` int64, in main memory, as `[B, *row.shape]`."""

    def borrow(self, start: int, stop: int, file: Path) -> bool:  # noqa: ARG002
        """Let the last bytes of `file`, which nothing may write to, stand from `start` to `stop` until written over.

        False where the block doesn't: then they have to be written.
        """
        return False

    def read_rows(self, row: RowFormat, start: int, stop: int) -> Tensor:
        """Return the rows from place `start` to `stop`, as `read` returns bytes."""
        content = self.read(start * row.num_bytes, stop * row.num_bytes)
        return content.view(row.dtype).view(stop - start, *row.shape)

    def write_rows(self, row: RowFormat, start: int, rows: Tensor) -> None:
        """Overwrite the rows from place `start` on by `rows` `[R, *row.shape]`."""
        self.write(start * row.num_bytes, rows.contiguous().flatten().view(torch.uint8))

    def rotate(self, row: RowFormat, shift: int) -> None:
        """Move every row `shift` places towards the start, the first `shift` rows to the end, in place.

        Reversing the two parts, then the whole, rotates without a second buffer.
        """
        num_rows = self.num_bytes // row.num_bytes
        shift %= num_rows
        if shift == 0:
            return
        for start, stop in ((0, shift), (shift, num_rows), (0, num_rows)):
            self._reverse(row, start, stop)

    def _reverse(self, row: RowFormat, start: int, stop: int) -> None:
        """Reverse the order of the rows from `start` to `stop` by swapping pieces from both ends."""
        piece = max(1, _SWAP_BYTES // row.num_bytes)
        while stop - start > 1:
            count = min(piece, (stop - start) // 2)
            head = self.read_rows(row, start, start + count).flip(0)
            tail = self.read_rows(row, stop - count, stop).flip(0)
            self.write_rows(row, start, tail)
            self.write_rows(row, stop - count, head)
            start, stop = start + count, stop - count


class MemoryBlock(Block):
    """The replay's memory: one uint8 tensor. On a CPU its pages become resident when they are first written.

    Args:
        num_bytes: size of the block in bytes.
        device: where the block lives.

    Attributes:
        bytes: the block, `[num_bytes]` uint8.

    Raises:
        SettingError: `num_bytes` isn't positive.
    """

    def __init__(self, num_bytes: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_bytes, device)
        self.bytes = torch.empty(num_bytes, dtype=torch.uint8, device=device)
        self.device = self.bytes.device  # with its number
        self._views: dict[RowFormat, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_views": {}}  # pickled, each would come back with bytes of its own

    def rows(self, row: RowFormat) -> Tensor:
        """Return the block as `[num_bytes // row.num_bytes, *row.shape]`: a view of the same bytes."""
        if row not in self._views:
            self._views[row] = self.read_rows(row, 0, self.num_bytes // row.num_bytes)
        return self._views[row]

    def read(self, start: int, stop: int) -> Tensor:
        return self.bytes[start:stop]

    def write(self, start: int, content: Tensor) -> None:
        self.bytes[start : start + len(content)] = content

    def write_rows(self, row: RowFormat, start: int, rows: Tensor) -> None:
        self.rows(row)[start : start + len(rows)] = rows  # without a view of bytes for each: it is one row at a time

    def take(self, row: RowFormat, places: Tensor) -> Tensor:
        return self.rows(row).index_select(0, places.to(self.device))
