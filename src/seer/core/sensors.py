"""Stages of an encoder that sees several cameras and vectors: a camera's maps go up on their own, vectors beside them.

Axes: B batch, S stack, C channels, H, W, D numbers of all vectors, L latent size.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seer.core.packing import Packing

LARGEST = 10.0
"""Normalised numbers beyond it are cut off, as Stable-Baselines3's VecNormalize does."""

EPSILON = 1e-8
"""Added to variances, so that a number that never changed can be divided."""


@dataclass(frozen=True)
class Sensed:
    """Hold what stages give each other: each camera's pixels or maps [B, C, H, W], and vectors [B, ...] float32."""

    images: tuple[Tensor, ...]
    vectors: Tensor

    def flat(self) -> Tensor:
        """Return all of it as [B, L] float32, cameras in their order, vectors last."""
        return torch.cat([*(image.flatten(1).to(self.vectors.dtype) for image in self.images), self.vectors], 1)

    def detach(self) -> "Sensed":
        """Return the same without a gradient."""
        return Sensed(tuple(image.detach() for image in self.images), self.vectors)


class SensorPixels(nn.Module):
    """Packed frames [B, S, 1, 1, P] to pixels of each camera, and the vectors of all S moments as they are.

    Args:
        pixels: of each camera, from frames [B, S, C, H, W] to what its lowest layer reads.
    """

    def __init__(self, packing: Packing, pixels: Iterable[nn.Module]) -> None:
        super().__init__()
        self.packing, self.pixels = packing, nn.ModuleList(pixels)

    def forward(self, packed: Tensor) -> Sensed:
        """Return pixels, and vectors [B, S, D]."""
        frames = self.packing.frames_of(packed)
        images = tuple(pixels(each) for pixels, each in zip(self.pixels, frames, strict=True))
        return Sensed(images, self.packing.numbers_of(packed))


class RunningNormalization(nn.Module):
    """Normalise vectors by mean and variance of all that were added (Welford's sums, in float64).

    With fewer than two added, numbers stay as they are.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        for name, shape in (("count", ()), ("mean", (size,)), ("squares", (size,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @torch.no_grad()
    def add(self, vectors: Tensor) -> None:
        """Count vectors [B, D]."""
        for vector in vectors.double():
            self.count += 1
            before = vector - self.mean
            self.mean += before / self.count
            self.squares += before * (vector - self.mean)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors [B, S, D] normalised, as [B, S * D] float32."""
        if self.count < 2:
            return vectors.flatten(1)
        deviation = (self.squares / self.count + EPSILON).sqrt()
        normalised = (vectors - self.mean) / deviation
        return normalised.clamp(-LARGEST, LARGEST).to(vectors.dtype).flatten(1)


class SensorStage(nn.Module):
    """Put one stage of every camera side by side; vectors pass, in the lowest stage normalised.

    Args:
        cameras: a stage of each, with `output_shape` (C, H, W) and `multiply_adds()`.
        vector_size: S * D.
        normalization: of the lowest stage.
    """

    def __init__(
        self, cameras: Sequence[nn.Module], *, vector_size: int, normalization: RunningNormalization | None = None
    ) -> None:
        super().__init__()
        self.cameras, self.normalization, self.vector_size = nn.ModuleList(cameras), normalization, vector_size
        self.image_shapes: list[tuple[int, ...]] = [tuple(each.output_shape) for each in cameras]  # type: ignore[arg-type]
        self.output_shape = (sum(map(math.prod, self.image_shapes)) + vector_size,)

    def forward(self, sensed: Sensed) -> Sensed:
        """Return the maps of each camera, and the vectors [B, S * D]."""
        images = tuple(stage(image) for stage, image in zip(self.cameras, sensed.images, strict=True))
        vectors = sensed.vectors if self.normalization is None else self.normalization(sensed.vectors)
        return Sensed(images, vectors)

    def learn_range(self, sensed: Sensed) -> None:
        """Count the newest vectors of observations, given as the lowest stage reads them; in training mode alone."""
        if self.normalization is not None and self.training:
            self.normalization.add(sensed.vectors[:, -1])

    def sensed_from(self, latents: Tensor, precision: torch.dtype) -> Sensed:
        """Return what `flat` made into latents [B, L], maps in the dtype that stages above compute in."""
        *images, vectors = latents.split([*map(math.prod, self.image_shapes), self.vector_size], 1)
        maps = [each.unflatten(1, shape).to(precision) for each, shape in zip(images, self.image_shapes, strict=True)]
        return Sensed(tuple(maps), vectors)

    def multiply_adds(self) -> int:
        """Return the cost of one pass on one observation."""
        costs: list[int] = [stage.multiply_adds() for stage in self.cameras]  # type: ignore[operator]
        return sum(costs)
