"""An observation of several cameras and vectors as one frame of bytes, which a replay stores like any other frame.

Axes: B batch, S stack, C channels of one frame, H, W, P bytes of a packed frame, D numbers of all vectors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seer.errors import RunError

if TYPE_CHECKING:  # environments import this, whose processes do without PyTorch
    from torch import Tensor

NUMBER = 4
"""Bytes of a vector's number, float32."""


@dataclass(frozen=True)
class Packing:
    """Say where each camera's frame and each vector lie in a packed frame [1, 1, P] uint8: in order, cameras first.

    Attributes:
        cameras: by name, (C, H, W) of a frame.
        vectors: by name, how many numbers it has.
    """

    cameras: Mapping[str, tuple[int, int, int]]
    vectors: Mapping[str, int]

    @property
    def picture_bytes(self) -> int:
        """Return the bytes of all cameras' frames."""
        return sum(map(math.prod, self.cameras.values()))

    @property
    def num_numbers(self) -> int:
        """Return D, how many numbers all vectors have."""
        return sum(self.vectors.values())

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Return (1, 1, P)."""
        return 1, 1, self.picture_bytes + NUMBER * self.num_numbers

    def pack(self, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return one observation as a packed frame [1, 1, P] uint8.

        Args:
            observation: by name, each camera's frame [C, H, W] uint8, and each vector, numbers of any shape and dtype.

        Raises:
            ValueError: a frame or vector is missing or of another shape, or a number isn't finite in float32.
        """
        missing = [name for name in (*self.cameras, *self.vectors) if name not in observation]
        if missing:
            raise RunError(f"the observation has no {', '.join(map(repr, missing))}")
        frames = [_frame(name, observation[name], shape) for name, shape in self.cameras.items()]
        vectors = [_numbers(name, observation[name], size) for name, size in self.vectors.items()]
        return np.concatenate([*frames, *vectors]).reshape(self.frame_shape)

    def frames_of(self, packed: "Tensor") -> "list[Tensor]":
        """Return the frames [B, S, C, H, W] of each camera, views of packed ones [B, S, 1, 1, P]."""
        sizes = [math.prod(shape) for shape in self.cameras.values()]
        parts = packed.flatten(2)[..., : self.picture_bytes].split(sizes, -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.cameras.values(), strict=True)]

    def numbers_of(self, packed: "Tensor") -> "Tensor":
        """Return the vectors [B, S, D] float32 of packed frames [B, S, 1, 1, P]."""
        import torch

        # A copy of its own: as a slice it may begin where no number of several bytes can.
        own = packed.flatten(2)[..., self.picture_bytes :].clone(memory_format=torch.contiguous_format)
        return own.flatten().view(torch.float32).view(*packed.shape[:2], self.num_numbers)


class EachCamera:
    """Apply a function of frames, such as a crop, to those of every camera within packed frames.

    Args:
        packing: of the frames that are given.
        change: from frames [B, S, C, H, W] to others; called once for each camera. One that has a method `at` gives
            by it the change for frames of a side.
    """

    def __init__(self, packing: Packing, change: Any) -> None:
        self.packing = packing
        sides = [shape[-1] for shape in packing.cameras.values()]
        self.changes: list[Callable[[Tensor], Tensor]] = [
            change.at(side) if hasattr(change, "at") else change for side in sides
        ]

    def __call__(self, packed: "Tensor") -> "Tensor":
        """Return packed frames of the changed ones."""
        import torch

        frames = [each.flatten(2) for each in self._changed(self.packing.frames_of(packed))]
        vectors = packed.flatten(2)[..., self.packing.picture_bytes :]
        return torch.cat([*frames, vectors], -1)[:, :, None, None]

    def changed(self) -> Packing:
        """Return the packing of the result, found by a call on black frames."""
        import torch

        cameras = self.packing.cameras
        after = self._changed([torch.zeros(1, 1, *shape, dtype=torch.uint8) for shape in cameras.values()])
        shapes: list[Any] = [tuple(each.shape[2:]) for each in after]
        return Packing(dict(zip(cameras, shapes, strict=True)), self.packing.vectors)

    def _changed(self, frames: "list[Tensor]") -> "list[Tensor]":
        return [change(each) for change, each in zip(self.changes, frames, strict=True)]


def _frame(name: str, given: NDArray[Any], shape: Sequence[int]) -> NDArray[np.uint8]:
    frame = np.asarray(given)
    if frame.dtype != np.uint8 or frame.shape != tuple(shape):
        raise RunError(f"the frame of {name!r} is {frame.dtype} {list(frame.shape)}, not uint8 {list(shape)}")
    return frame.reshape(-1)


def _numbers(name: str, given: Any, size: int) -> NDArray[np.uint8]:
    with np.errstate(over="ignore"):  # refused below
        numbers = np.asarray(given).astype(np.float32).reshape(-1)
    if numbers.size != size:
        raise RunError(f"the vector {name!r} has {numbers.size} numbers, not {size}")
    if not np.isfinite(numbers).all():
        shown = np.asarray(given).reshape(-1)[~np.isfinite(numbers)][0]
        raise RunError(f"the vector {name!r} has {shown}: its numbers must be finite in float32")
    return numbers.view(np.uint8)
