"""An average over an encoder's last maps.

Axes: B batch, C channels, H height, W width.
"""

from torch import nn

from seer.errors import SettingError
from seer.networks.convolutions import MapShape


class Pooling(nn.AdaptiveAvgPool2d):
    """Maps [B, C, H, W] averaged down to [B, C, side, side], so that wide maps make small latents.

    Raises:
        SettingError: the maps are smaller than that.
    """

    def __init__(self, input_shape: MapShape, side: int) -> None:
        channels, height, width = input_shape
        if side > min(height, width):
            raise SettingError(
                f"--latent-pool {side}: the encoder's maps are {height} x {width}; give at most {min(height, width)}"
            )
        super().__init__(side)
        self.output_shape = (channels, side, side)

    def multiply_adds(self) -> int:
        """Return 0: it adds, and multiplies once per output."""
        return 0
