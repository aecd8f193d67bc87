"""Feature stability: how much the base's outputs still change while it learns.

The newest observations are encoded by the base as it is and by a copy of it from the last comparison. Both encode the
same observations, so that only the change of the weights counts; the copy is all that is kept.

Axes: B batch, S stack, C channels, H, W.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.core.encoder import FreezableEncoder
from seer.core.module_stage import ModuleStage
from seer.core.phase import Phase
from seer.core.sensors import Sensed
from seer.core.similarity import SAMPLES_PER_UNIT, Covariances, linear_cka, svcca
from seer.core.stages import Inputs, run

CHUNK = 32  # observations encoded at a time, so that a comparison needs no more memory than an update
OBSERVATIONS = 256

Chunk = TypeVar("Chunk")


class Observations(Protocol):
    """Give the observations of a replay, as `Replay` and `MultiEnvReplay` do."""

    def recent(self, count: int, *, span: int) -> NDArray[np.int64]:
        """Return the ids of up to `count` observations, evenly spaced over the newest `span`."""

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        """Return the observations `ids` [B]: frames [B, S, C, H, W] uint8."""


@dataclass(frozen=True)
class Similarity:
    """Hold the similarity of a layer to itself at two times; of several latents, that of the most changed."""

    cka: float
    svcca: float
    observations: int


class FeatureStability:
    """Compare the base's outputs, every so many steps, with those of the comparison before.

    Args:
        every: steps between comparisons; the observations are spread over the newest `every` steps.
        observations: how many of the newest observations are encoded; None: 256, or more where the features need it.
            See `least_observations`: those of fewer look alike whatever the encoder has learnt.
    """

    def __init__(self, *, every: int = 2500, observations: int | None = None) -> None:
        self.every, self.observations = every, observations
        self._before: nn.ModuleList | None = None

    def compare(self, encoder: FreezableEncoder, replay: Observations) -> Similarity | None:
        """Return how alike the features are to those of the last comparison.

        It is None at the first comparison, where nothing was learnt since the last, while the replay holds too few
        observations, and once the encoder is frozen.
        """
        base = nn.ModuleList(encoder.base)
        if encoder.phase is not Phase.FRAMES or (self._before is not None and _same_weights(self._before, base)):
            return None
        newest = replay.recent(1, span=1)
        if len(newest):  # a module may keep a tensor of its last pass; one with a gradient couldn't be copied
            stage_outputs(base, encoder.pixels(encoder.view(replay.read(newest))))
        before, self._before = self._before, copy.deepcopy(base)
        if before is None or not len(newest):
            return None
        fewest = 1 if self.observations else least_observations(encoder, replay.read(newest))
        count = self.observations or max(OBSERVATIONS, fewest)
        frames = replay.read(replay.recent(count, span=max(self.every, fewest)))
        if len(frames) < fewest:
            return None
        return _similarity(before, base, encoder.pixels, encoder.view(frames))

    def stop(self) -> None:
        """Forget the copy: the features are frozen."""
        self._before = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {"before": None if self._before is None else self._before.state_dict()}

    def load_state_dict(self, state: dict[str, Any], encoder: FreezableEncoder) -> None:
        """Continue from `state_dict`; `encoder` gives the copy its shape and layout."""
        self.stop()
        if state["before"] is not None:
            self._before = copy.deepcopy(nn.ModuleList(encoder.base))
            self._before.load_state_dict(state["before"])


def least_observations(encoder: FreezableEncoder, frames: Tensor) -> int:
    """Return how many observations a comparison needs at least; `frames` [1, S, C, H, W] are those of any one."""
    outputs = stage_outputs(encoder.base, encoder.pixels(encoder.view(frames)))
    return max(math.ceil(SAMPLES_PER_UNIT * each.shape[1] / len(each)) for each in map(as_samples, outputs))


@torch.no_grad()
def stage_outputs(stages: Iterable[nn.Module], pixels: Inputs) -> list[Tensor]:
    """Return the outputs of the last of some stages, float32: maps [B, C, H, W], or several [B, units].

    Without vectors, which no weight changes.
    """
    stages = list(stages)
    return image_outputs(stages[-1], run(stages, pixels))


def image_outputs(stage: nn.Module, output: Any) -> list[Tensor]:
    """Return a stage's outputs of images, float32, without vectors; maps that a module flattened are maps again."""
    if isinstance(output, Sensed):
        return [image.float() for image in output.images]
    if isinstance(stage, ModuleStage) and stage.map_shape is not None:
        return [output.float().view(-1, *stage.map_shape)]
    outputs = [output.float()] if isinstance(output, Tensor) else list(output)
    vectors = int(getattr(stage, "vector_size", 0))  # behind the features
    return [each[:, : each.shape[1] - vectors] for each in outputs] if vectors else outputs


def as_samples(activations: Tensor) -> Tensor:
    """Return samples [*, units] of a layer's outputs: one per position of a map (Raghu et al. 2017), or one each."""
    return activations.movedim(1, -1).flatten(0, -2)


def covariances(
    before: Any, now: Any, samples: Callable[[Any, Chunk], Iterable[Tensor]], chunks: Iterable[Chunk]
) -> list[Covariances]:
    """Return the covariances of each latent before and now.

    Args:
        before, now: two states of what encodes.
        samples: gives the samples [*, units] of each latent, as one of the two encodes a chunk.
        chunks: of observations.
    """
    found: list[Covariances] = []
    for chunk in chunks:
        pairs = list(zip(samples(before, chunk), samples(now, chunk), strict=True))
        found = found or [Covariances() for _ in pairs]
        for each, (left, right) in zip(found, pairs, strict=True):
            each.add(left, right)
    return found


def least(measure: Callable[[Covariances], float], found: Iterable[Covariances]) -> float:
    """Return the measure of the most changed latent; nan, where it occurs, wins."""
    return float(np.min([measure(each) for each in found]))


def _similarity(before: nn.ModuleList, now: nn.ModuleList, pixels: Any, views: Tensor) -> Similarity:
    """Return how alike two bases encode `views` [B, S, C, h, w], which `pixels` prepares for them."""

    def samples(base: nn.ModuleList, prepared: Inputs) -> Iterator[Tensor]:
        return map(as_samples, stage_outputs(base, prepared))

    found = covariances(before, now, samples, map(pixels, views.split(CHUNK)))
    return Similarity(least(linear_cka, found), least(svcca, found), observations=len(views))


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))
