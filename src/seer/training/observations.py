"""Real observations of a run's environment, as its agent meets them.

Axes: B observations, S stack, C channels, H, W.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from seer.agents.agent import Agent
from seer.envs.base import PixelEnvironment

SEED = 20_210_302
"""Seed of the games that are played for an analysis: always the same, and none that the run has seen."""


def play(
    agent: Agent[Any],
    environment: PixelEnvironment,
    *,
    count: int,
    every: int = 1,
    skip: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return `count` observations [B, S, C, H, W] uint8, one in `every` that the exploring agent meets after `skip`.

    `progress` is called with the steps played and the steps in all.
    """
    steps = skip + count * every
    observation, _ = environment.reset(seed=SEED)
    kept = []
    for step in range(steps):
        if step >= skip and (step - skip) % every == 0:
            kept.append(observation)
        observation, _, terminated, truncated, _ = environment.step(agent.explore(observation)[0])
        if terminated or truncated:
            observation, _ = environment.reset()
        if progress is not None:
            progress(step + 1, steps)
    return np.stack(kept)
