"""A point that has to be moved to a goal: pictures show only the goal, the vector only the point.

Neither alone tells where to go. `reaching:Reaching-v0` has bounded actions, `reaching:ReachingDiscrete-v0` five steps.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SIDE, LENGTH, STEP, NEAR = 24, 25, 0.25, 0.3
MOVES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float64)


class Reaching(gymnasium.Env[dict[str, Any], Any]):
    """Reward each step by how near the point is to the goal, from 0 to 1; both are drawn anew in each episode.

    Args:
        discrete: actions are to stand still and a step to each side.
        cameras: of the same goal, the second from the other side and of another size.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, *, discrete: bool = False, cameras: int = 1) -> None:
        self.discrete = discrete
        self.action_space = spaces.Discrete(5) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        pictures = {"camera": spaces.Box(0, 255, (SIDE, SIDE, 1), np.uint8)}
        if cameras > 1:
            pictures["behind"] = spaces.Box(0, 255, (SIDE + 6, SIDE, 1), np.uint8)
        joints = {"position": spaces.Box(-1, 1, (2,), np.float64)}
        self.observation_space = spaces.Dict({**pictures, **joints})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:  # noqa: ARG002
        super().reset(seed=seed)
        self.goal, self.point = self.np_random.uniform(-1, 1, (2, 2))
        return self._see(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        move = MOVES[action] if self.discrete else np.asarray(action, np.float64)
        self.point = np.clip(self.point + STEP * move, -1, 1)
        distance = float(np.abs(self.point - self.goal).max())
        return self._see(), max(0.0, 1 - distance / (2 * NEAR)), False, False, {}

    def _see(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"position": self.point.copy()}
        for name, space in self.observation_space.items():
            if name != "position":
                seen[name] = self._draw(space.shape, 1 if name == "camera" else -1)
        return seen

    def _draw(self, shape: Any, sign: int) -> NDArray[np.uint8]:
        picture = np.zeros(shape, np.uint8)
        row, column = (((sign * self.goal + 1) / 2) * (np.array(shape[:2]) - 5)).round().astype(int)
        picture[row : row + 5, column : column + 5] = 255
        return picture


for name, options in (
    ("Reaching-v0", {}),
    ("ReachingDiscrete-v0", {"discrete": True}),
    ("ReachingTwoCameras-v0", {"cameras": 2}),
    ("ReachingTwoCamerasDiscrete-v0", {"cameras": 2, "discrete": True}),
):
    gymnasium.register(name, Reaching, max_episode_steps=LENGTH, kwargs=options)
