"""What every environment of this project has in common: it shows its last few frames.

Axes: S stack, C channels, H height, W width.
"""

from abc import abstractmethod
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Info = dict[str, Any]
State = dict[str, Any]


class PixelEnvironment(gymnasium.Env[Pixels, Any]):
    """A Gymnasium environment whose observation is the last `stack` frames, uint8 [S, C, H, W], newest last.

    A subclass brings a simulator: `_begin`, `_advance` and the two methods for its state. This class keeps
    the stack (an episode's first frame fills it), and the score and length of the episode, which the last
    step reports as `info["episode"] = {"return": sum of the simulator's rewards, "length": agent steps}`.

    Attributes:
        frame_shape: (C, H, W) of one frame.
        stack: frames in an observation.
        action_repeat: simulator ticks ("frames" in the Atari sense) per step.
        action_space: what `step` accepts.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (declared so by Gymnasium)
    render_mode = "rgb_array"

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        *,
        stack: int,
        action_repeat: int,
        action_space: gymnasium.Space[Any],
    ) -> None:
        self.frame_shape = frame_shape
        self.stack = stack
        self.action_repeat = action_repeat
        self.action_space = action_space
        self.observation_space = gymnasium.spaces.Box(0, 255, (stack, *frame_shape), np.uint8)
        self._frames: Pixels = np.zeros((stack, *frame_shape), np.uint8)
        self._return = 0.0
        self._length = 0
        self._needs_reset = True

    @abstractmethod
    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        """Start an episode; seed None goes on with the random numbers at hand. Returns frame, info."""

    @abstractmethod
    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        """Play one step. Returns frame [C, H, W], unclipped reward, terminated, truncated, info."""

    @abstractmethod
    def _simulator_state(self) -> State:
        """Everything `_begin` and `_advance` depend on, random generators included."""

    @abstractmethod
    def _load_simulator_state(self, state: State) -> None:
        """Go on exactly from what `_simulator_state` returned."""

    @abstractmethod
    def render(self) -> Pixels:
        """The present picture in full size, RGB uint8 [height, width, 3], for videos."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Pixels, Info]:
        """Start an episode. Returns the observation, uint8 [S, C, H, W], and the simulator's info."""
        super().reset(seed=seed, options=options)
        frame, info = self._begin(seed)
        self._return, self._length = 0.0, 0
        return self._start_stack(frame), info

    def step(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        """Play one step. Returns the observation, uint8 [S, C, H, W], reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: no episode is under way.
        """
        if self._needs_reset:
            raise gymnasium.error.ResetNeeded("no episode is under way: call reset() before step()")
        frame, reward, terminated, truncated, info = self._advance(action)
        self._frames[:-1] = self._frames[1:]
        self._frames[-1] = frame
        self._length += 1
        self._count(reward, over=terminated or truncated, info=info)
        return self._frames.copy(), reward, terminated, truncated, info

    def state_dict(self) -> State:
        """The exact state: arrays and JSON values, nothing pickled."""
        return {
            "frames": self._frames.copy(),
            "episode_return": self._return,
            "episode_length": self._length,
            "needs_reset": self._needs_reset,
            "simulator": self._simulator_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on exactly where the environment of `state_dict` was, whatever this one did before."""
        self._load_simulator_state(state["simulator"])
        self._frames[:] = state["frames"]
        self._return = float(state["episode_return"])
        self._length = int(state["episode_length"])
        self._needs_reset = bool(state["needs_reset"])

    def _start_stack(self, frame: Pixels) -> Pixels:
        """Fill the stack with an episode's first frame [C, H, W]; returns the observation [S, C, H, W]."""
        self._frames[:] = frame
        self._needs_reset = False
        return self._frames.copy()

    def _count(self, reward: float, *, over: bool, info: Info) -> None:
        """Add a reward to the score and, when the episode is over, report it in `info`."""
        self._return += reward
        self._needs_reset = over
        if over:
            info["episode"] = {"return": self._return, "length": self._length}
