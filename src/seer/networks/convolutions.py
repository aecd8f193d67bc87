"""Stages of an encoder: convolutions, sections of IMPALA's, an average; and the published rows of them.

Axes: B batch, S stack, C channels, H height, W width, P squares, F numbers in a square.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.errors import SettingError

MapShape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Convolution:
    """One convolution of an encoder: output channels, square kernel and stride in pixels, no padding."""

    channels: int
    kernel: int
    stride: int


DATA_EFFICIENT = (Convolution(32, 5, 5), Convolution(64, 5, 5))
"""The encoder of data-efficient Rainbow (van Hasselt et al. 2019, appendix E)."""

CANONICAL = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""The encoder of DQN (Mnih et al. 2015, methods)."""

SAC_AE = (Convolution(32, 3, 2), Convolution(32, 3, 1), Convolution(32, 3, 1), Convolution(32, 3, 1))
"""The convolutions of SAC-AE (Yarats et al. 2019, appendix)."""

CONVOLUTIONS = {"data-efficient": DATA_EFFICIENT, "canonical": CANONICAL, "sac-ae": SAC_AE}
"""The rows of plain convolutions by the names they have on the command line."""

SECTIONS = (16, 32, 32)
"""Channels of the three sections of IMPALA's larger encoder (Espeholt et al. 2018, figure 3, right)."""


class ConvStage(nn.Conv2d):
    """A convolution and a ReLU: maps [B, channels, H, W] -> [B, *output_shape].

    Where kernels lie side by side it is a product with the squares they read, which can take the convolution's place.

    Weights and activations are kept channels-last, which is where CPU and GPU convolutions are fastest.
    """

    def __init__(self, input_shape: MapShape, layer: Convolution, *, padding: int = 0) -> None:
        channels, height, width = input_shape
        super().__init__(channels, layer.channels, layer.kernel, layer.stride, padding)
        self.output_shape = (layer.channels, *(_side(side, layer, padding) for side in (height, width)))
        self.input_shape = input_shape
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its annotations

    def forward(self, maps: Tensor) -> Tensor:
        """Return rectified maps of maps, or of squares of pixels: see `pixels.Squares`."""
        return F.relu(self.convolve(maps), inplace=True) if maps.ndim == 4 else self._multiply(maps)

    def convolve(self, maps: Tensor) -> Tensor:
        """Return the convolution alone."""
        assert self.bias is not None
        weight, bias = self.weight.to(maps.dtype), self.bias.to(maps.dtype)
        return F.conv2d(maps, weight, bias, self.stride, self.padding)

    def _multiply(self, squares: Tensor) -> Tensor:
        """Return the outputs for `squares` [B, h, w, ..., P, F], P of them in each of the next layer's squares.

        One layer of nesting is gone then; where none is left, they are maps.
        """
        assert self.bias is not None
        weight = self.weight.to(squares.dtype).permute(0, 2, 3, 1).flatten(1)  # no copy, as it is channels-last
        outputs = F.linear(squares.view(-1, weight.shape[1]), weight, self.bias.to(squares.dtype))
        rectified = F.relu(outputs, inplace=True).view(*squares.shape[:-2], self.out_channels)
        return rectified.permute(0, 3, 1, 2) if rectified.ndim == 4 else rectified

    def multiply_adds(self) -> int:
        """Return the cost of one pass on one observation."""
        channels, height, width = self.output_shape
        return height * width * channels * self.in_channels * self.kernel_size[0] * self.kernel_size[1]


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


class Pooling(nn.AdaptiveAvgPool2d):
    """Maps [B, C, H, W] averaged down to [B, C, side, side], so that wide maps make small latents."""

    def __init__(self, input_shape: MapShape, side: int) -> None:
        channels, height, width = input_shape
        if side > min(height, width):
            raise SettingError(
                f"--latent-pool {side}: the encoder's maps are {height} x {width}; give at most {min(height, width)}"
            )
        super().__init__(side)
        self.output_shape = (channels, side, side)

    def multiply_adds(self) -> int:
        return 0  # it adds, and multiplies once per output


def named_stages(encoder: str, frame_shape: MapShape, *, stack: int) -> list[nn.Module]:
    """Return the stages on `stack` frames [C, H, W] of an encoder by its name on the command line."""
    if encoder == "impala":
        return chain(frame_shape, stack, ResidualSection, SECTIONS)
    return chain(frame_shape, stack, ConvStage, CONVOLUTIONS[encoder])


def chain(frame_shape: MapShape, stack: int, make: Callable[..., nn.Module], kinds: Iterable[Any]) -> list[nn.Module]:
    """Return one stage of each kind, each on the maps of the one below it."""
    shape: Any = (stack * frame_shape[0], *frame_shape[1:])
    stages = []
    for kind in kinds:
        stages.append(make(shape, kind))
        shape = stages[-1].output_shape
    return stages


def side_by_side(stages: Iterable[nn.Module]) -> list[ConvStage]:
    """Return the stages, from the lowest up, whose kernels are as large as their strides."""
    found = []
    for stage in stages:
        if not isinstance(stage, ConvStage) or stage.kernel_size != stage.stride or stage.padding != (0, 0):
            break
        found.append(stage)
    return found


def _side(side: int, layer: Convolution, padding: int) -> int:
    output = (side + 2 * padding - layer.kernel) // layer.stride + 1
    if output < 1:
        raise SettingError(
            f"--encoder: {side} pixels are too few for its {layer.kernel}x{layer.kernel} convolution; "
            "choose another --encoder or a larger image"
        )
    return output
