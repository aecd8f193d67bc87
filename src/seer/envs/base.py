"""The base of every environment of this project, which shows its last few frames.

Axes: S stack, C channels, H height, W width.
"""

import faulthandler
import math
import signal
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType, MappingProxyType
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from seer.core.packing import Packing
from seer.envs.actions import ActionTranslation
from seer.errors import RunError, SettingError

Pixels = npt.NDArray[np.uint8]
Info = dict[str, Any]
State = dict[str, Any]
LARGEST_REWARD = 1e15
"""Largest reward: the square of the sum of 10,000 such rewards is still a number in float32."""

TICKS = 10
"""Parts of a time limit that are counted one by one: a process that was stopped meanwhile loses one of them at most."""

GRACE = 30.0
"""Seconds after the limit of a call until the process ends, where the call doesn't let Python raise."""

Drawing = Pixels | Future[Pixels]
"""A frame [C, H, W], or the promise of one that another thread is still drawing."""


class PixelEnvironment(gymnasium.Env[Pixels, Any]):
    """Show a simulator as a Gymnasium environment: an observation is the last `stack` frames, uint8 [S, C, H, W].

    A subclass brings the simulator: `_begin`, `_advance` and the two methods for its state. This class keeps the stack,
    newest frame last (an episode's first frame fills it), and the score and length of the episode, which the last step
    reports as `info["episode"] = {"return": sum of the simulator's rewards, "length": agent steps}`.

    `step` is `advance` and then `observe`, `reset` is `restart` and then `observe`. Work between the two, such as an
    update, is done while the picture is drawn.

    Attributes:
        frame_shape: (C, H, W) of one frame; (1, 1, P) of a packed one.
        packing: of cameras and vectors in a frame; None where a frame is one picture.
        stack: frames in an observation.
        action_repeat: simulator ticks ("frames" in the Atari sense) per step.
        action_space: what `step` accepts.
        time_limit: seconds that a start or a step may take.
        max_episode_steps: agent steps after which an episode is truncated; None leaves that to the simulator.
        translation: from the actions of `action_space` to the simulator's own.
        preparation: how a frame is made of the simulator's picture, for programs that make frames elsewhere.
        picture_bounds: least and greatest value of its pictures' pixels, which frames show as 0 and 255.
        camera_bounds: the same of each camera that has others than 0 and 255, where frames are packed.
        question: a line that asks what its pictures' axes mean, where they don't tell; otherwise None.
        length: agent steps in the episode so far.
        is_lost: `load_state_dict` couldn't bring the simulator back: its last pictures are there, its episode isn't.

    Raises:
        RunError: in any call: the simulator raised an error or took too long, its frame has another shape or dtype, or
            float32 can't hold its reward.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (declared so by Gymnasium)
    render_mode = "rgb_array"
    time_limit: float = 300.0
    max_episode_steps: int | None = None
    packing: Packing | None = None
    preparation = "as the environment gives it"
    picture_bounds: tuple[int, int] = (0, 255)
    camera_bounds: Mapping[str, tuple[int, int]] = MappingProxyType({})
    question: str | None = None

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        *,
        stack: int,
        action_repeat: int,
        action_space: gymnasium.Space[Any],
        translation: ActionTranslation | None = None,
    ) -> None:
        self.frame_shape = frame_shape
        self.stack = stack
        self.action_repeat = action_repeat
        self.action_space = action_space
        self.translation = translation or ActionTranslation(action_space)  # type: ignore[arg-type]
        self._takes_own_actions = False
        self.observation_space = gymnasium.spaces.Box(0, 255, (stack, *frame_shape), np.uint8)
        self._frames: Pixels = np.zeros((stack, *frame_shape), np.uint8)
        self._drawing: Drawing | None = None  # the newest frame, as long as it isn't in the stack
        self._fills_stack = False  # the newest frame is an episode's first
        self._return = 0.0
        self.length = 0
        self._needs_reset = True
        self.is_lost = False

    @abstractmethod
    def _begin(self, seed: int | None) -> tuple[Drawing, Info]:
        """Start an episode and return frame and info; without a seed the random numbers go on."""

    @abstractmethod
    def _advance(self, action: Any) -> tuple[Drawing, float, bool, bool, Info]:
        """Play one step; return frame, unclipped reward, terminated, truncated, info."""

    @abstractmethod
    def _simulator_state(self) -> State:
        """Return everything that `_begin` and `_advance` depend on, random generators included."""

    @abstractmethod
    def _load_simulator_state(self, state: State) -> None:
        """Continue exactly from a state of `_simulator_state`, or set `is_lost`."""

    def _complete(self, drawn: Pixels) -> Pixels:
        """Return the newest frame, of what was drawn: with vectors, for simulators that have any."""
        return drawn

    def _origin(self) -> str:
        """Return the things that a saved state needs to be read, such as the simulator's version."""
        return ""

    @abstractmethod
    def render(self) -> Pixels:
        """Return the present picture in full size, RGB uint8 [height, width, 3], for videos."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Pixels, Info]:
        """Start an episode; return the observation, uint8 [S, C, H, W], and the simulator's info."""
        super().reset(seed=seed, options=options)
        info = self.restart(seed=seed)
        return self.observe(), info

    def step(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        """Play one step; return the observation, uint8 [S, C, H, W], reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: no episode is under way.
        """
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def restart(self, *, seed: int | None = None) -> Info:
        """Start an episode, which `observe` shows; return the simulator's info."""
        self._finish_drawing()
        with self._watched("reset", through_c=True):
            drawing, info = self._begin(seed)
        self.is_lost = False
        self._return, self.length = 0.0, 0
        self._start_stack(drawing)
        return info

    def advance(self, action: Any) -> tuple[float, bool, bool, Info]:
        """Play one step, whose end `observe` shows; return reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: no episode is under way.
        """
        if self._needs_reset:
            raise gymnasium.error.ResetNeeded("no episode is under way: call reset() before step()")
        self._finish_drawing()  # the simulator must not move while it is drawn
        reward, terminated, truncated, info = self._play(action)
        self.length += 1
        truncated = truncated or (self.length == self.max_episode_steps and not terminated)
        self._count(reward, over=terminated or truncated, info=info)
        return reward, terminated, truncated, info

    def _play(self, action: Any) -> tuple[float, bool, bool, Info]:
        """Call `_advance`, watched; its frame is the newest."""
        with self._watched("step"):
            self._drawing, reward, terminated, truncated, info = self._advance(action)
            if self._drawing is None:
                raise RunError("it shows no frame")
            if not math.isfinite(reward):
                raise RunError(f"its reward is {reward}")
            if abs(reward) > LARGEST_REWARD:
                raise RunError(f"its reward is {reward:g}, beyond {LARGEST_REWARD:g}, which can't be learnt: scale it")
        return reward, terminated, truncated, info

    @property
    def has_time_limit(self) -> bool:
        """Tell whether something is known to cut its episodes off; simulators with a limit override this."""
        return self.max_episode_steps is not None

    def introduction(self) -> list[str]:
        """Return lines for the start of a run: what draws, what the agent sees and does."""
        return []

    def take_own_actions(self) -> None:
        """Let `step` take the simulator's own actions from now on, as `seer.load`'s agents give them."""
        self.action_space, self._takes_own_actions = self.translation.space, True

    def _own_action(self, action: Any) -> Any:
        """Return what the simulator takes for an action that was given to `step`."""
        return action if self._takes_own_actions else self.translation(action)

    def observe(self) -> Pixels:
        """Return the observation, uint8 [S, C, H, W]; waits for its newest frame if that is still being drawn."""
        self._finish_drawing()
        return self._frames.copy()

    def state_dict(self) -> State:
        """Return the exact state: arrays and JSON values, nothing pickled."""
        self._finish_drawing()
        return {
            "frames": self._frames.copy(),
            "episode_return": self._return,
            "episode_length": self.length,
            "needs_reset": self._needs_reset,
            "simulator": {"origin": self._origin()} | self._simulator_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue exactly where the environment of `state_dict` was, whatever this one did before.

        Where the simulator can't be brought back, `is_lost` is True, and a new episode has to be started.

        Raises:
            SettingError: the state is of another environment, or other versions of it.
        """
        origin = state["simulator"].get("origin", self._origin())
        if origin != self._origin():
            raise SettingError(
                f"the saved state is of {origin}, this environment is {self._origin()}: a saved state needs the same "
                "env and the same versions"
            )
        self._finish_drawing()
        self.is_lost = False
        self._load_simulator_state(state["simulator"])
        self._frames[:] = state["frames"]
        self._return = float(state["episode_return"])
        self.length = int(state["episode_length"])
        self._needs_reset = bool(state["needs_reset"]) or self.is_lost

    def _start_stack(self, drawing: Drawing) -> None:
        """Begin an episode with this frame, which fills the stack."""
        self._drawing, self._fills_stack = drawing, True
        self._needs_reset = False

    def _finish_drawing(self) -> None:
        """Take the newest frame into the stack."""
        if self._drawing is None:
            return
        with self._watched("drawing"):
            frame = self._complete(self._drawing.result() if isinstance(self._drawing, Future) else self._drawing)
            if frame.shape != self.frame_shape or frame.dtype != np.uint8:
                raise RunError(f"its frame is {frame.dtype} {list(frame.shape)}, not uint8 {list(self.frame_shape)}")
        if self._fills_stack:
            self._frames[:] = frame
        else:
            self._frames[:-1] = self._frames[1:]
            self._frames[-1] = frame
        self._drawing, self._fills_stack = None, False

    def _count(self, reward: float, *, over: bool, info: Info) -> None:
        """Add a reward to the score and, when the episode is over, report it in `info`."""
        self._return += reward
        self._needs_reset = over
        if over:
            info["episode"] = {"return": self._return, "length": self.length}

    @contextmanager
    def _watched(self, call: str, *, through_c: bool = False) -> Iterator[None]:
        """Turn an error inside `with` into one line that names the call."""
        try:
            with at_most(self.time_limit, through_c=through_c):
                yield
        except Exception as error:
            if isinstance(error, SettingError) and not isinstance(error, RunError):
                raise
            cause = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            raise RunError(f"the environment failed in {call}: {' '.join(cause.split())}") from error


@contextmanager
def at_most(seconds: float, *, through_c: bool = False) -> Iterator[None]:
    """Raise an error inside `with` once it has taken so many seconds.

    Works in the main thread of systems with SIGALRM; elsewhere there is no limit. An exception can't reach code in C
    that never comes back to Python: with `through_c`, which costs a thread, the process then prints where it hangs and
    ends with exit code 1.

    Of the time for which the process was stopped (Ctrl-Z) a tenth of the limit counts at most: of the alarms that were
    due meanwhile the system delivers one. The thread of `through_c` counts all of it.

    Raises:
        RunError: it took longer.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    left = TICKS

    def tick(_number: int, _frame: FrameType | None) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise RunError(f"it took longer than {seconds:g} seconds (--env-timeout)")

    handler = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, seconds / TICKS, seconds / TICKS)
    if through_c and sys.__stderr__ is not None:
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if through_c:
            faulthandler.cancel_dump_traceback_later()
