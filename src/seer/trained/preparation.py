"""From a simulator's or a camera's pictures to the frames that an agent sees.

Axes: C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from seer.core.packing import Packing
from seer.envs.base import Pixels
from seer.envs.pictures import ALL_VALUES, Bounds, as_picture, scaled
from seer.errors import RunError, SettingError
from seer.runs.folder import flatten


@dataclass(frozen=True)
class Preparation:
    """Turn pictures into frames as the run's environment does.

    Attributes:
        frame_shape: (C, H, W) of a frame.
        bounds: least and greatest value of a picture's pixels, which frames show as 0 and 255.
        account: how the run's environment makes its frames, for people.
    """

    frame_shape: tuple[int, int, int]
    bounds: Bounds
    account: str

    def __call__(self, *pictures: Pixels) -> Pixels:
        """Return the frame [C, H, W] uint8 of a picture, or of the largest values of several.

        Args:
            pictures: uint8 [H, W], [H, W, C] or [C, H, W], grey or RGB, all of one shape.

        Raises:
            SettingError: they are no such pictures, or grey where the agent sees colours.
        """
        channels = self.frame_shape[0]
        if not pictures:
            raise SettingError("no picture is given: give one or, of an Atari game, the console's last two")
        if channels not in (1, 3):
            raise SettingError(f"this agent's frames have {channels} channels: make {list(self.frame_shape)} by hand")
        shown = [self._picture(picture) for picture in pictures]
        if len({each.shape for each in shown}) > 1:
            raise SettingError(f"pictures differ in shape ({[each.shape for each in shown]}): give them in one size")
        if channels == 3 and shown[0].shape[2] == 1:
            raise SettingError("the picture is grey, and this agent sees RGB: give it in colours")
        return scaled(np.maximum.reduce(shown), self.frame_shape)

    def _picture(self, picture: Pixels) -> Pixels:
        """Return a picture as uint8 [H, W, C], grey where the agent sees grey."""
        try:
            found = as_picture(picture, self.bounds)
        except RunError as error:
            raise SettingError(f"it can't be prepared: {str(error).replace('its picture', 'the picture')}") from error
        if self.frame_shape[0] == 1 and found.shape[2] == 3:
            grey: Pixels = np.asarray(cv2.cvtColor(np.ascontiguousarray(found), cv2.COLOR_RGB2GRAY), np.uint8)
            return grey[..., np.newaxis]
        return found


@dataclass(frozen=True)
class SensorPreparation:
    """Turn an observation of cameras and vectors into a packed frame as the run's environment does.

    Attributes:
        packing: of a frame.
        camera_bounds: least and greatest value of the pixels of cameras that have others than 0 and 255.
        account: how the run's environment makes its frames, for people.
    """

    packing: Packing
    camera_bounds: Mapping[str, Bounds]
    account: str

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Return (1, 1, P) of a packed frame."""
        return self.packing.frame_shape

    def __call__(self, *observations: Mapping[str, Any]) -> Pixels:
        """Return the packed frame [1, 1, P] uint8 of one observation.

        Args:
            observations: one; by name, the picture of each camera, as `Preparation` takes it, and the numbers of each
                vector; of a Discrete choice zeros and a one. Dicts within it may stay.

        Raises:
            SettingError: a camera or vector is missing, or is no such picture or vector.
        """
        if len(observations) != 1 or not isinstance(observations[0], Mapping):
            raise SettingError(f"give one dict, as this agent sees {', '.join(map(repr, self._names))}")
        parts = dict(flatten(observations[0], between="/"))
        if missing := [name for name in self._names if name not in parts]:
            raise SettingError(f"the observation has no {', '.join(map(repr, missing))}: this agent sees them")
        for name, shape in self.packing.cameras.items():
            parts[name] = Preparation(shape, self.camera_bounds.get(name, ALL_VALUES), "")(parts[name])
        try:
            return self.packing.pack(parts)
        except (TypeError, ValueError) as error:
            raise SettingError(f"it can't be prepared: {error}") from error

    @property
    def _names(self) -> list[str]:
        return [*self.packing.cameras, *self.packing.vectors]
