"""From a simulator's or a camera's pictures to the frames that an agent sees.

Axes: C channels, H height, W width.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from seer.envs.base import Pixels
from seer.envs.pictures import Bounds, as_picture, scaled
from seer.errors import RunError, SettingError


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
