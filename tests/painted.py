"""An environment whose pixels say when they were made, for tests of the loop and the replay.

The idea is that of the dummy environment in danijar/dreamerv3: an observation that carries its own number
turns an error in ordering, stacking or episode ends into a wrong number instead of a picture nobody reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from seer.envs.base import Info, PixelEnvironment, Pixels, State

NUMBER_BYTES = 4


@dataclass(frozen=True)
class Episode:
    """`length` steps; the last one terminates, or truncates."""

    length: int
    truncated: bool = False


class PaintedEnvironment(PixelEnvironment):
    """Paints into each frame how many frames came before it, over all episodes, first frames included.

    So a first frame is 0, the steps of a 3-step episode paint 1, 2, 3, and the next episode starts at 4.
    The number's four bytes, least significant first, are repeated all over the frame; `painted_number`
    reads it back. A reset moves on to the next scripted episode and, like the frames, ignores its seed.

    Args:
        episodes: the script, repeated without end.
        rewards: the reward of the step that arrives at frame number n is `rewards[n % len(rewards)]`.
        frame_shape: (C, H, W), at least four pixels.
    """

    def __init__(
        self,
        *,
        episodes: Sequence[Episode] = (Episode(5), Episode(1), Episode(7, truncated=True)),
        rewards: Sequence[float] = (0.0, 1.0, -0.5, 2.0),
        frame_shape: tuple[int, int, int] = (1, 84, 84),
        stack: int = 4,
        num_actions: int = 3,
    ) -> None:
        action_space = gymnasium.spaces.Discrete(num_actions)
        super().__init__(frame_shape, stack=stack, action_repeat=1, action_space=action_space)
        self.episodes = episodes
        self.rewards = rewards
        self._number = -1
        self._episode = -1
        self._steps = 0

    def render(self) -> Pixels:
        """The newest frame's first channel as RGB uint8 [H, W, 3]."""
        return np.repeat(self.observe()[-1, 0, :, :, np.newaxis], 3, axis=-1)

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        self._episode += 1
        self._steps = 0
        return self._paint(), {}

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        assert self.action_space.contains(action), f"{action!r} is no action of {self.action_space}"
        frame = self._paint()
        self._steps += 1
        episode = self.episodes[self._episode % len(self.episodes)]
        over = self._steps == episode.length
        reward = self.rewards[self._number % len(self.rewards)]
        return frame, reward, over and not episode.truncated, over and episode.truncated, {}

    def _paint(self) -> Pixels:
        self._number += 1
        digits = np.frombuffer(self._number.to_bytes(NUMBER_BYTES, "little"), np.uint8)
        return np.resize(digits, self.frame_shape)

    def _simulator_state(self) -> State:
        return {"number": self._number, "episode": self._episode, "steps": self._steps}

    def _load_simulator_state(self, state: State) -> None:
        self._number, self._episode, self._steps = state["number"], state["episode"], state["steps"]


def painted_number(frames: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The numbers painted into frames uint8 [..., C, H, W], as int64 [...]."""
    pixels = np.asarray(frames, np.uint8)
    digits = pixels.reshape(*pixels.shape[:-3], -1)[..., :NUMBER_BYTES].astype(np.int64)
    return digits @ (1 << 8 * np.arange(NUMBER_BYTES))
