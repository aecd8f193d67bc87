"""Crops: the only augmentation of CURL and SAC. Every frame of a stack is cropped at the same place.

Axes: B batch, S stack, C channels of one frame, H, W full image, h, w crop, K crops.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crop:
    """Crop frames to `size`, by `crop(frames, size)`; those of a camera of another size to the same share.

    Attributes:
        whole: side of the frames that `size` is for.
    """

    crop: Callable[[Tensor, int], Tensor]
    size: int
    whole: int

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the crops [B, S, C, size, size] of frames [B, S, C, H, W]."""
        return self.crop(frames, self.size)

    def at(self, side: int) -> "Crop":
        """Return the crop for frames of another side."""
        return Crop(self.crop, round(self.size * side / self.whole), side)


def random_crop(frames: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """One crop of each observation, its place drawn uniformly: [B, S, C, H, W] -> [B, S, C, size, size].

    `generator` draws on the CPU, so that a seed means the same crops on every device.
    """
    batch, height, width = frames.shape[0], *frames.shape[-2:]
    if size == height == width:
        return frames
    top = torch.randint(height - size + 1, (batch,), generator=generator)
    left = torch.randint(width - size + 1, (batch,), generator=generator)
    return (slice_windows if frames.device.type == "cpu" else index_windows)(frames, size, top, left)


def slice_windows(frames: Tensor, size: int, top: Tensor, left: Tensor) -> Tensor:
    """Windows with their corners at `top`, `left` [B]: [B, S, C, size, size]. Copied row by row: fast on a CPU."""
    corners = zip(frames, top.tolist(), left.tolist(), strict=True)
    return torch.stack([each[..., y : y + size, x : x + size] for each, y, x in corners])


def index_windows(frames: Tensor, size: int, top: Tensor, left: Tensor) -> Tensor:
    """The same in one operation, byte by byte: fast on a GPU."""
    windows = frames.unfold(-2, size, 1).unfold(-2, size, 1)  # [B, S, C, H-h+1, W-w+1, h, w]: a view, nothing copied
    samples = torch.arange(len(frames), device=frames.device)
    # Indexing moves the two placed axes to the front: [B, S, C, h, w].
    return windows[samples, :, :, top.to(frames.device), left.to(frames.device)]


def center_crop(frames: Tensor, size: int) -> Tensor:
    """The middle of each observation: [..., H, W] -> [..., size, size]."""
    top, left = (frames.shape[-2] - size) // 2, (frames.shape[-1] - size) // 2
    return frames[..., top : top + size, left : left + size]
