"""IMPALA's larger encoder (Espeholt et al. 2018, figure 3, right).

Axes: B batch, H height, W width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from seer.networks.convolutions import Convolution, ConvStage, MapShape

SECTIONS = (16, 32, 32)
"""Channels of its three sections, of five convolutions each."""


class ResidualSection(nn.Module):
    """A section of the IMPALA encoder: convolution, 3x3/2 max pool, two residual blocks of two convolutions.

    Maps [B, channels, H, W] -> [B, *output_shape]; rectified at the end, as the next section or layer expects.
    """

    def __init__(self, input_shape: MapShape, channels: int) -> None:
        super().__init__()
        layer = Convolution(channels, kernel=3, stride=1)
        self.entry = ConvStage(input_shape, layer, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        height, width = ((side + 1) // 2 for side in self.entry.output_shape[1:])
        self.output_shape = (channels, height, width)
        self.blocks = nn.ModuleList(ConvStage(self.output_shape, layer, padding=1) for _ in range(4))

    def forward(self, maps: Tensor) -> Tensor:
        blocks = list(self.blocks)
        maps = self.pool(self.entry.convolve(maps))
        for first, second in ((blocks[0], blocks[1]), (blocks[2], blocks[3])):
            assert isinstance(second, ConvStage)
            maps = maps + second.convolve(first(F.relu(maps)))
        return F.relu(maps)

    def multiply_adds(self) -> int:
        return self.entry.multiply_adds() + sum(block.multiply_adds() for block in self.blocks)  # type: ignore[operator]
