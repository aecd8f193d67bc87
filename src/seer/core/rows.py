"""The agreement between the encoder, which makes rows, and the replay, which stores them.

Axes: B batch, S stack, C channels, H, W, K crops, N latents per observation, L latent size.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from seer.errors import SettingError

Encode = Callable[[Tensor], Tensor]
"""From frames [B, S, C, H, W] uint8 to rows of latents [B, K, N, L] float32."""

Progress = Callable[[int, int], None]
"""Told of rows done and rows in all."""

LATENT_DTYPES = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8,
}  # fmt: skip
"""What latents can be stored as, by name."""


@dataclass(frozen=True)
class RowFormat:
    """Shape and dtype of one stored row."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


def refuse_unfitted(dtype: torch.dtype, sizes: Iterable[int]) -> None:
    """Raise SettingError where latents are to be int8, but a replay among those of `sizes` rows is empty."""
    if dtype == torch.int8 and not all(sizes):
        raise SettingError("latents can't be int8: no observation is stored to fit its range to; use float16")


Outcome_co = TypeVar("Outcome_co", covariant=True)
"""What a replay reports of a conversion."""


class Sized(Protocol):
    """A part of a replay."""

    @property
    def size(self) -> int:
        """Stored rows."""


class FrameReplay(Protocol[Outcome_co]):
    """What the freeze asks of a replay."""

    @property
    def row(self) -> RowFormat:
        """Rows as they are now."""

    @property
    def replays(self) -> Sequence[Sized]:
        """Its parts."""

    def transcode(self, encode: Encode, latent: RowFormat, *, progress: Progress | None = None) -> Outcome_co:
        """Replace stored frames by rows `encode` [B, K, N, L] of them, unless those would be larger."""
