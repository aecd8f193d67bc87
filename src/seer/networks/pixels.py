"""From bytes of frames to what an encoder's first stage reads, in the memory order that is cheapest there.

Axes: B batch, S stack, C channels of the whole stack, H height, W width, P squares.
"""

import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Pixels(nn.Module):
    """Frames [B, S, C, H, W] uint8 to pixels [B, S*C, H, W] in [0, 1], laid out channels-last.

    Attributes:
        precision: dtype of the pixels.
    """

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision

    def forward(self, frames: Tensor) -> Tensor:
        """Return the pixels."""
        # Transposed as bytes, then converted: the cheapest order on the CPU.
        return channels_last(frames.flatten(1, 2)).to(self.precision).mul_(1 / 255)


class Squares(nn.Module):
    """Frames to the squares of pixels that kernels read which lie side by side, squares within squares.

    Of one layer [B, h, w, kernel^2, S*C]; of two [B, h, w, kernel^2, kernel^2, S*C], those of the higher layer first.
    h and w are the outputs of the highest. So the outputs of a layer are what one square of the next holds.
    """

    order: Tensor

    def __init__(self, precision: torch.dtype, height: int, width: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.precision, self.kernels = precision, list(kernels)
        size = math.prod(kernels)
        self.outputs = height // size, width // size
        self.register_buffer("order", nested_squares(height, width, kernels), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the squares, in [0, 1]."""
        planes = frames.flatten(1, 2)
        squares = gather_squares(planes, self.order, self.kernels[0]).to(self.precision).mul_(1 / 255)
        nested = [kernel**2 for kernel in reversed(self.kernels)]
        return squares.view(len(planes), *self.outputs, *nested, planes.shape[1])


def channels_last(planes: Tensor) -> Tensor:
    """Return the same bytes [B, C, H, W], laid out channels-last."""
    if not _packs(planes):
        return planes.contiguous(memory_format=torch.channels_last)
    return _packed(planes)[..., None].view(torch.uint8).permute(0, 3, 1, 2)


def nested_squares(height: int, width: int, kernels: Sequence[int]) -> Tensor:
    """Return the numbers of a picture's pixels in the order in which squares within squares come.

    `kernels` are the sides of kernels that lie side by side, the lowest first. All pixels that one output of the
    highest reads stand together, within them all that one output of the stage below reads, and so on. Pixels at the rim
    that no output of the highest reads are left out.
    """
    size = math.prod(kernels)
    rows, columns = height // size, width // size
    numbers = torch.arange(height * width).view(height, width)[: rows * size, : columns * size]
    sides = [*reversed(kernels)]
    split = numbers.reshape(rows, *sides, columns, *sides)
    down, across = range(len(sides) + 1), range(len(sides) + 1, 2 * len(sides) + 2)
    return split.permute([axis for pair in zip(down, across, strict=True) for axis in pair]).flatten()


def gather_squares(planes: Tensor, order: Tensor, size: int) -> Tensor:
    """Return the squares [B, P, size * size * C] of bytes [B, C, H, W], channels innermost; `order` as above."""
    batch, channels = planes.shape[:2]
    shape = (batch, len(order) // size**2, size * size * channels)  # in full, as there may be no observation at all
    if _packs(planes):  # NumPy takes words from memory three times as fast as PyTorch
        words = np.take(_packed(planes).flatten(1).numpy(), order.numpy(), axis=1)
        return torch.from_numpy(words).view(torch.uint8).view(shape)
    return planes.flatten(2).transpose(1, 2)[:, order].reshape(shape)


def _packs(planes: Tensor) -> bool:
    """Whether the channels of a pixel make up an integer: four, as in Atari's stack. No pixel at all does."""
    return planes.numel() > 0 and planes.shape[1] == 4 and planes.device.type == "cpu" and sys.byteorder == "little"


def _packed(planes: Tensor) -> Tensor:
    """Return pixels [B, H, W] int32 of four bytes each: arithmetic is vectorised, where copying goes byte by byte."""
    first, second, third, fourth = planes.int().unbind(1)
    packed = third.add_(fourth, alpha=256)
    for words in (second, first):
        packed = words.add_(packed, alpha=256)
    return packed
