"""How a row's numbers are stored, and how they are read back.

Axes: B batch, K crops, N latents per observation, L latent size.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

_LEVELS = 255  # steps between the lowest and the highest of the 256 values of an int8
_HALF_MAX = torch.finfo(torch.float16).max
_MOST_ERROR = 0.05  # as a share of the standard deviation, that is small


class Codec:
    """Store numbers of dtype `plain` as `stored` by a cast, and unchanged where the two are the same.

    float16 ends at 65,504; numbers beyond it are stored as that, with a warning the first time.
    """

    clipped_share: float | None = None
    """Share of the numbers stored so far that was outside the range of the codec; None if it has no range."""

    def __init__(self, plain: torch.dtype, stored: torch.dtype) -> None:
        self.plain, self.stored = plain, stored
        self._warned = False

    @property
    def is_exact(self) -> bool:
        """Return whether numbers are read back unchanged."""
        return self.plain == self.stored

    def encode(self, numbers: Tensor) -> Tensor:
        """Return `numbers` `[..., N, L]` as they are stored."""
        if self.stored != torch.float16 or self.plain == torch.float16:
            return numbers.to(self.stored)
        inside = numbers.clamp(-_HALF_MAX, _HALF_MAX)
        if not self._warned and not torch.equal(inside, numbers):
            self._warned = True
            warnings.warn(
                "latents beyond 65,504, where float16 ends, are stored as that: store float32 or bfloat16", stacklevel=2
            )
        return inside.to(self.stored)

    def decode(self, stored: Tensor) -> Tensor:
        """Return stored numbers `[..., N, L]` as `plain` ones."""
        return stored.to(self.plain)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that `load_codec` needs beside the dtypes."""
        return {}


class Int8Codec(Codec):
    """Store float32 latents as int8: each dimension's range, lowest to highest, in 255 equal steps.

    Numbers outside the range are stored as its ends, and counted. Where the lowest is 0, as it is of most rectified
    features, 0 is stored exactly.

    Args:
        low: `[N, L]` float32: the lowest number of each dimension.
        step: `[N, L]` float32: its range / 255, positive.
    """

    def __init__(self, low: Tensor, step: Tensor) -> None:
        super().__init__(torch.float32, torch.int8)
        self.low, self.step = low, step
        self._counts = torch.zeros(2, dtype=torch.int64, device=low.device)  # stored, of those clipped

    @classmethod
    def fitted(cls, chunks: Iterable[Tensor]) -> Self:
        """Return the codec whose ranges just hold `chunks` of latents `[B, K, N, L]`, at least one."""
        ends = [torch.aminmax(chunk.flatten(0, 1), dim=0) for chunk in chunks]
        low = torch.stack([low for low, _ in ends]).amin(0)
        high = torch.stack([high for _, high in ends]).amax(0)
        return cls(low, ((high - low) / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny))

    @property
    def clipped_share(self) -> float:  # type: ignore[override]
        stored, clipped = self._counts.tolist()
        return float(clipped / max(1, stored))

    def encode(self, numbers: Tensor) -> Tensor:
        levels = ((numbers - self.low) / self.step).round()
        inside = levels.clamp(0, _LEVELS)
        self._counts[0] += levels.numel()
        self._counts[1] += (levels != inside).sum()
        return (inside - 128).to(torch.int8)

    def decode(self, stored: Tensor) -> Tensor:
        return torch.addcmul(self.low, stored.float() + 128, self.step)

    def state_dict(self) -> dict[str, Any]:
        return {"low": self.low, "step": self.step, "counts": self._counts.clone()}

    def load_counts(self, counts: Tensor) -> None:
        """Go on counting from `state_dict`'s."""
        self._counts.copy_(counts)


def load_codec(stored: torch.dtype, state: dict[str, Any], device: torch.device) -> Codec:
    """Return the codec of latents that `state` describes."""
    if stored != torch.int8:
        return Codec(torch.float32, stored)
    codec = Int8Codec(state["low"].to(device), state["step"].to(device))
    codec.load_counts(state["counts"])
    return codec


@dataclass(frozen=True)
class LatentError:
    """The distance of stored latents from the encoder's.

    Attributes:
        relative: root mean square of the errors, as a share of the latents' standard deviation. (Their own size would
            flatter: features of one game differ little from observation to observation.)
        largest: the largest error, in the latents' unit.
        clipped_share: see `Codec`.
    """

    relative: float
    largest: float
    clipped_share: float | None

    @property
    def is_large(self) -> bool:
        """Return whether it blurs what tells observations apart."""
        return self.relative > _MOST_ERROR


class ErrorMeter:
    """The errors of a codec, added up."""

    def __init__(self, latent_shape: tuple[int, ...], device: torch.device) -> None:
        self.count = 0  # latents of one crop
        # Sums for each dimension [N, L]: of latents, of their squares, of the errors' squares.
        self._sums = torch.zeros(3, *latent_shape[1:], dtype=torch.float64, device=device)
        self._largest = torch.zeros((), device=device)

    def add(self, latents: Tensor, decoded: Tensor) -> None:
        """Add the errors of `decoded`, which is read where `latents` were stored; both are `[B, K, N, L]`."""
        exact, errors = latents.double().flatten(0, 1), (decoded - latents).double().flatten(0, 1)
        self.count += len(exact)
        self._sums += torch.stack([exact.sum(0), exact.square().sum(0), errors.square().sum(0)])
        self._largest = torch.maximum(self._largest, errors.abs().amax().float())

    def result(self, codec: Codec) -> LatentError:
        """Return the errors so far; none at all where nothing was added."""
        sums, squares, errors = self._sums / max(1, self.count)
        variance = float((squares - sums.square()).sum())
        relative = (float(errors.sum()) / variance) ** 0.5 if variance > 0 else 0.0
        return LatentError(relative, float(self._largest), codec.clipped_share)
