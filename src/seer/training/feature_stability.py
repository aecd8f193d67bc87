"""Measure how much the base's outputs still change.

The newest observations are encoded by the base as it is and by `before`, a copy of it from the last comparison. Both
encode the same observations, so that only the change of the weights counts; the copy is all that is kept.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from seer.agents.activations import as_samples, stage_outputs
from seer.agents.agent import Agent
from seer.core.encoder import FreezableEncoder
from seer.core.similarity import SAMPLES_PER_UNIT, Covariances, linear_cka, svcca
from seer.replay import MultiEnvReplay, Replay

CHUNK = 32  # observations encoded at a time, so that a comparison needs no more memory than an update


@dataclass(frozen=True)
class Similarity:
    """Hold the similarity of a layer to itself at two times; of several latents, that of the most changed."""

    cka: float
    svcca: float
    observations: int


class FeatureStability:
    """Compare the base's outputs, every so many steps, with those of the comparison before.

    Args:
        observations: how many of the newest observations are encoded.
        every: steps between comparisons; the observations are spread over the newest `every` steps.
    """

    def __init__(self, *, observations: int, every: int) -> None:
        self.observations, self.every = observations, every
        self._before: nn.ModuleList | None = None
        self._updates = 0

    def compare(self, agent: Agent[Any], replay: Replay | MultiEnvReplay) -> Similarity | None:
        """Return how alike the features are to those of the last comparison; None without one or an update since."""
        encoder: FreezableEncoder = agent.online.encoder
        result = None
        if self._before is not None and agent.updates > self._updates:
            frames = replay.read(replay.recent(self.observations, span=self.every))
            result = compare(self._before, nn.ModuleList(encoder.base), encoder.pixels, agent.view(frames))
        if self._before is None or agent.updates > self._updates:
            self._before, self._updates = copy.deepcopy(nn.ModuleList(encoder.base)), agent.updates
        return result

    def stop(self) -> None:
        """Forget the copy: the features are frozen."""
        self._before = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {"before": None if self._before is None else self._before.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any], agent: Agent[Any]) -> None:
        """Continue from `state_dict`; `agent` gives the copy its shape and layout."""
        self._before, self._updates = None, state["updates"]
        if state["before"] is not None:
            self._before = copy.deepcopy(nn.ModuleList(agent.online.encoder.base))
            self._before.load_state_dict(state["before"])


def least_observations(agent: Agent[Any], frames: Tensor) -> int:
    """Return how many observations a comparison needs at least; `frames` [1, S, C, H, W] are those of any one."""
    encoder: FreezableEncoder = agent.online.encoder
    outputs = stage_outputs(encoder.base, encoder.pixels(agent.view(frames)))
    return max(math.ceil(SAMPLES_PER_UNIT * each.shape[1] / len(each)) for each in map(as_samples, outputs))


def compare(before: nn.ModuleList, now: nn.ModuleList, pixels: Any, views: Tensor) -> Similarity:
    """Return how alike two bases encode `views` [B, S, C, h, w], which `pixels` prepares for them."""
    latents: list[Covariances] = []
    for chunk in views.split(CHUNK):
        prepared = pixels(chunk)
        pairs = list(zip(stage_outputs(before, prepared), stage_outputs(now, prepared), strict=True))
        latents = latents or [Covariances() for _ in pairs]
        for covariances, (left, right) in zip(latents, pairs, strict=True):
            covariances.add(as_samples(left), as_samples(right))
    cka, svccas = [linear_cka(each) for each in latents], [svcca(each) for each in latents]
    return Similarity(float(np.min(cka)), float(np.min(svccas)), observations=len(views))  # nan, where it occurs, wins
