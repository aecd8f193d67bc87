"""The environment of a trained agent, to play in."""

from typing import Any

import gymnasium
import numpy as np

from seer.config import Config
from seer.envs.base import Info, PixelEnvironment, Pixels
from seer.envs.randomness import SharedRandomness
from seer.training.build_environment import build_environment


class PlayEnvironment(gymnasium.Wrapper[Pixels, Any, Pixels, Any]):
    """Take the environment's own actions, and begin the first episode with a seed.

    The shared generators of `random` and `numpy.random`, from which some environments draw while they are made, are
    left as they were.
    """

    def __init__(self, config: Config, *, seed: int | None) -> None:
        drawn = np.random.SeedSequence(seed).generate_state(1)[0]
        with SharedRandomness().used(int(drawn)):
            environment: PixelEnvironment = build_environment(config, training=False)
        environment.take_own_actions()
        super().__init__(environment)
        self._seed = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Pixels, Info]:
        """Start an episode. Returns the observation, uint8 [S, C, H, W], and the simulator's info."""
        seed, self._seed = self._seed if seed is None else seed, None
        return self.env.reset(seed=seed, options=options)
