"""One block of bytes, allocated once, that can be read as rows of any format."""

import torch
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import SettingError

_SWAP_BYTES = 4 * 2**20  # `MemoryBlock.rotate` holds at most two pieces of this size beside the block


class MemoryBlock:
    """The replay's memory: one uint8 tensor that is allocated once and never moves.

    It isn't initialised: on a CPU its pages become resident when they are first written.

    Args:
        num_bytes: size of the block in bytes.
        device: where the block lives.

    Attributes:
        bytes: the block, `[num_bytes]` uint8.

    Raises:
        SettingError: `num_bytes` isn't positive.
    """

    def __init__(self, num_bytes: int, device: torch.device | str = "cpu") -> None:
        if num_bytes <= 0:
            raise SettingError(f"replay memory is {num_bytes} bytes: give it a positive size")
        self.bytes = torch.empty(num_bytes, dtype=torch.uint8, device=device)

    @property
    def num_bytes(self) -> int:
        """Return the bytes allocated."""
        return self.bytes.numel()

    @property
    def device(self) -> torch.device:
        """Return where the block lives."""
        return self.bytes.device

    def rows(self, row: RowFormat) -> Tensor:
        """Return the block as `[num_bytes // row.num_bytes, *row.shape]`: a view of the same bytes."""
        num_rows = self.num_bytes // row.num_bytes
        return self.bytes[: num_rows * row.num_bytes].view(row.dtype).view(num_rows, *row.shape)

    def rotate(self, row: RowFormat, shift: int) -> None:
        """Move every row `shift` places towards the start, the first `shift` rows to the end, in place.

        Reversing the two parts, then the whole, rotates without a second buffer.
        """
        rows = self.rows(row)
        shift %= len(rows)
        if shift == 0:
            return
        piece = max(1, _SWAP_BYTES // row.num_bytes)
        _reverse(rows[:shift], piece)
        _reverse(rows[shift:], piece)
        _reverse(rows, piece)


def _reverse(rows: Tensor, piece: int) -> None:
    """Reverse the order of `rows` in place by swapping pieces from both ends."""
    start, stop = 0, len(rows)
    while stop - start > 1:
        count = min(piece, (stop - start) // 2)
        head = rows[start : start + count].flip(0)
        rows[start : start + count] = rows[stop - count : stop].flip(0)
        rows[stop - count : stop] = head
        start, stop = start + count, stop - count
