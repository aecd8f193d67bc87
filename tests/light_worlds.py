"""Environments for processes of their own: they import this module, and PyTorch would take them seconds."""

import os
import random
from typing import Any

import gymnasium
import numpy as np

from seer.envs.base import PixelEnvironment
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.errors import SettingError
from third_party import Shows


class Careless(Shows):
    """Draws from the process's generators, while it is made too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.offset = random.randrange(256)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        _, _, over, cut, info = super().step(action)
        return self.see(), random.random() + np.random.rand(), over, cut, info  # noqa: NPY002

    def see(self) -> Any:
        shape = self.observation_space.shape
        return (np.random.randint(256, size=shape) + self.offset).astype(np.uint8)  # noqa: NPY002


gymnasium.register("Careless-v0", Careless)


def make_careless() -> GymnasiumEnvironment:
    return GymnasiumEnvironment("light_worlds:Careless-v0")


class Fails(Shows):
    """Fails in its third step, as the name says."""

    def step(self, action: Any) -> Any:
        if self.left == 5:
            os._exit(9) if self.reward_range == "dies" else None
            raise OSError("socket\nclosed")
        return super().step(action)

    reward_range = "raises"


def failing(kind: str) -> PixelEnvironment:
    if kind == "absent":
        raise SettingError("no such game")
    environment = GymnasiumEnvironment("third_party:Shows-v0")
    environment._env = Fails(shape=(100, 120, 3))
    environment._env.reward_range = kind  # type: ignore[attr-defined]
    return environment
