"""Environments as other people register them; `third_party:Shows-v0` imports this module."""

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SHAPES: dict[str, tuple[int, ...]] = {
    "grey": (168, 252), "grey with an axis": (168, 252, 1), "rgb": (168, 252, 3), "channels first": (3, 168, 252),
}  # fmt: skip


class Shows(gymnasium.Env[Any, Any]):
    """Random pictures of a given shape, which depend on the seed and all actions since.

    `repeatable`: otherwise they depend on nothing, and an episode can't be brought back.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        *,
        shape: tuple[int, ...] = (100, 120, 3),
        observations: spaces.Space[Any] | None = None,
        actions: spaces.Space[Any] | None = None,
        repeatable: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = observations or spaces.Box(0, 255, shape, np.uint8)
        self.action_space = actions or spaces.Discrete(3, start=-1)
        self.repeatable, self.render_mode = repeatable, render_mode
        self.played: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if not self.repeatable:
            self._np_random, _ = gymnasium.utils.seeding.np_random(None)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.left = 7
        self.shown = self.observation_space.sample()
        return self.shown, {"episode": "a wrapper's"}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.played.append(action)
        self.left -= 1
        self.shown = self.observation_space.sample()
        return self.shown, 1.5, self.left == 0, False, {"episode": "a wrapper's"}

    def render(self) -> NDArray[np.uint8]:
        return self.np_random.integers(256, size=(90, 90, 3), dtype=np.uint8)


class Draws(Shows):
    """Draws from the process's generator while it is made."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drawn = random.random()


class Raises(Shows):
    def __init__(self, **_options: Any) -> None:
        raise RuntimeError("no licence\nfound")


BOX = spaces.Box(0, 255, (20, 20, 3), np.uint8)
UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,), np.float32)
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "Shows-v0": {},
    "Unrepeatable-v0": {"repeatable": False},
    "Box-v0": {"actions": spaces.Box(np.array([[-3.0], [0.0]], np.float32), np.array([[5.0], [1.0]], np.float32))},
    "Cameras-v0": {"observations": spaces.Dict({"left": BOX, "right": BOX, "speed": UNBOUNDED})},
    "Mask-v0": {"observations": spaces.Box(0, 1, (100, 120, 1), np.uint8)},
    "Camera-v0": {"observations": spaces.Dict({"front": BOX, "speed": UNBOUNDED})},
    "Float-v0": {"observations": spaces.Box(0, 1, (64, 64, 3), np.float32)},
    "Unbounded-v0": {"actions": UNBOUNDED},
    "Huge-v0": {"actions": spaces.Box(-3e38, 3e38, (2,), np.float32)},
    "Integers-v0": {"actions": spaces.Box(-2, 2, (2,), np.int64)},
    "Multi-v0": {"actions": spaces.MultiDiscrete([2, 3])},
}
for name, options in ENVIRONMENTS.items():
    gymnasium.register(f"{name}", Shows, kwargs=options)
gymnasium.register("Draws-v0", Draws)
gymnasium.register("Raises-v0", Raises)
