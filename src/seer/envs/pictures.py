"""Turn the pictures of Gymnasium's environments into frames.

Axes: H height, W width, C channels, 1 or 3.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

from seer.envs.base import Pixels
from seer.errors import RunError, SettingError, shortened

Bounds = tuple[int, int]
ALL_VALUES: Bounds = (0, 255)

MOST_STACKED, LEAST_SIDE = 64, 16
"""An axis of 2 to MOST_STACKED, beside two of at least LEAST_SIDE pixels, may be that of stacked frames."""

UNSTACKED = "register it without frame stacking of its own, which --frame-stack does"


@dataclass(frozen=True)
class View:
    """Describe how an environment is seen.

    Attributes:
        find: returns the picture of an observation.
        shape: (H, W, C) of the picture.
        what: its name in a sentence.
        bounds: least and greatest value of a pixel, which are shown as black and white.
        question: a line that asks for the meaning of the axes, where it is unclear; otherwise None.
        size: side in pixels of its frames, where it has one of its own.
    """

    find: Callable[[Any], Any]
    shape: tuple[int, int, int]
    what: str
    bounds: Bounds = ALL_VALUES
    question: str | None = None
    size: int | None = None

    def picture(self, observation: Any) -> Pixels:
        """Return the picture of an observation, uint8 [H, W, C]; RunError where it is of another shape."""
        picture = as_picture(self.find(observation), self.bounds)
        if picture.shape != self.shape:
            found, said = list(picture.shape), list(self.shape)
            raise RunError(f"{self.what} is {found} [H, W, C], not {said}, as its space or its first picture is")
        return picture


def rendered_view(env: gymnasium.Env[Any, Any], env_id: str) -> View:
    """Return the view of the pictures that `env` draws.

    Raises:
        SettingError: it can't be drawn.
    """
    try:  # before anything else is done
        env.reset(seed=0)
        shape = as_picture(env.render()).shape
    except Exception as error:
        raise SettingError(f"--render-pixels: {env_id} can't be drawn ({shortened(error)})") from error
    return View(lambda _: env.render(), shape, "its rendered picture")


def picture_view(find: Callable[[Any], Any], space: Any, what: str, env_id: str, size: int | None = None) -> View:
    """Return the view of a part of the observations that `is_picture`; SettingError where its bounds are none."""
    shape, bounds = with_channels_last(space.shape), (int(space.low.min()), int(space.high.max()))
    assert shape is not None
    if bounds[0] >= bounds[1]:
        raise SettingError(f"--env {env_id}: the pixels of {what} are all {bounds[0]}, says {space}: give it bounds")
    question = None
    if len(space.shape) == 3 and space.shape[0] == 3 and space.shape[2] != 3:
        question = (
            f"--env {env_id} shows {space.shape}, one RGB picture or three grey ones stacked: if it is one, say "
            f"--image-channels rgb (or grey, made of its colours); if it is three, {UNSTACKED}"
        )
    return View(find, shape, what, bounds, question, size)


def refuse_stacked(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    """Refuse frames that a wrapper of Gymnasium stacks: they would be taken for colours, or stacked twice."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, FrameStackObservation):
            raise SettingError(f"--env {env_id} stacks {env.stack_size} frames itself: {UNSTACKED}")
        env = env.env


def looks_stacked(parts: Iterable[spaces.Space[Any]]) -> str:
    """Return the remedy where a part of the observations seems to be of several frames; else nothing."""
    for part in parts:
        shape = part.shape or ()
        if not isinstance(part, spaces.Box) or part.dtype != np.uint8 or len(shape) not in (3, 4):
            continue
        *_, width = shape
        frames, sides = (width, shape[-3:-1]) if len(shape) == 3 and width < shape[0] else (shape[0], shape[1:3])
        if 2 <= frames <= MOST_STACKED and min(sides) >= LEAST_SIDE:
            return f"{list(shape)} looks like {frames} frames stacked already: {UNSTACKED}; "
    return ""


def is_picture(space: spaces.Space[Any]) -> bool:
    """Tell whether a part of the observations is a picture, grey or RGB, of bytes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and with_channels_last(space.shape) is not None


def with_channels_last(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return (H, W, C) of (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels; None of anything else."""
    match shape:
        case (height, width) | (height, width, 1):
            return height, width, 1
        case (height, width, 3):
            return height, width, 3
        case (1 | 3 as channels, height, width):
            return height, width, channels
    return None


def as_picture(shown: Any, bounds: Bounds = ALL_VALUES) -> Pixels:
    """Return an environment's picture as uint8 [H, W, C], its bounds as 0 and 255.

    Raises:
        RunError: it is no picture, or has values beyond the bounds.
    """
    shape = with_channels_last(shown.shape) if isinstance(shown, np.ndarray) and shown.dtype == np.uint8 else None
    if shape is None:
        found = f"{shown.dtype} {list(shown.shape)}" if isinstance(shown, np.ndarray) else type(shown).__name__
        raise RunError(f"its picture is {found}, not uint8 [H, W, 1 or 3]")
    picture = np.moveaxis(shown, 0, -1) if shown.ndim == 3 and shown.shape != shape else shown.reshape(shape)
    return picture if bounds == ALL_VALUES else _stretched(picture, bounds)


def _stretched(picture: Pixels, bounds: Bounds) -> Pixels:
    """Return a picture whose values between the bounds are spread over 0 to 255."""
    low, high = bounds
    if picture.min() < low or picture.max() > high:
        found = f"from {picture.min()} to {picture.max()}"
        raise RunError(f"its picture has values {found}, but its observation space says {low} to {high}")
    levels = (np.arange(256.0) - low) * (255 / (high - low))
    stretched: Pixels = levels.clip(0, 255).round().astype(np.uint8)[picture]
    return stretched


def scaled(picture: Pixels, frame_shape: tuple[int, int, int]) -> Pixels:
    """Return a picture [H, W, C] as a frame [c, h, w], squeezed by area."""
    channels, height, width = frame_shape
    turns_grey = channels == 1 and picture.shape[2] == 3
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if turns_grey else picture
    frame: Any = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, channels)
    return np.ascontiguousarray(frame.transpose(2, 0, 1), np.uint8)
