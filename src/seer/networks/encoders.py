"""Convolutional encoders: stacked frames in, one flat latent out.

Axes: B batch, S stack, C channels of one frame, H height, W width, L latent size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from seer.errors import SettingError


@dataclass(frozen=True)
class Convolution:
    """One convolution of an encoder: output channels, square kernel and stride in pixels, no padding."""

    channels: int
    kernel: int
    stride: int

    def output_size(self, size: int) -> int:
        """Side in pixels of the output for a square input of side `size`."""
        return (size - self.kernel) // self.stride + 1


DATA_EFFICIENT = (Convolution(32, 5, 5), Convolution(64, 5, 5))
"""The encoder of data-efficient Rainbow (van Hasselt et al. 2019, appendix E)."""

CANONICAL = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""The encoder of DQN (Mnih et al. 2015, methods)."""

ATARI_ENCODERS = {"data-efficient": DATA_EFFICIENT, "canonical": CANONICAL}


class ConvEncoder(nn.Module):
    """Convolutions with a ReLU after each, then flattened: `encoder(encoder.pixels(frames))` is [B, L] float32.

    Weights and activations are kept channels-last, which is where CPU and GPU convolutions are fastest.

    Raises:
        SettingError: the image is too small for the convolutions.
    """

    def __init__(self, *, stack: int, frame_shape: tuple[int, int, int], layers: Sequence[Convolution]) -> None:
        super().__init__()
        channels, height, width = frame_shape
        self.stack, self.frame_shape, self.layers = stack, frame_shape, tuple(layers)
        self.map_sizes = _map_sizes(height, width, self.layers)  # (height, width) after each convolution
        widths = [stack * channels, *(layer.channels for layer in self.layers)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, layer.kernel, layer.stride)
            for (inputs, outputs), layer in zip(pairwise(widths), self.layers, strict=True)
        )
        for convolution in self.convolutions:
            convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its annotations
        last_height, last_width = self.map_sizes[-1]
        self.latent_size = widths[-1] * last_height * last_width

    def pixels(self, frames: Tensor) -> Tensor:
        """What the convolutions read: [B, S*C, H, W] float32 in [0, 1], of stacked frames [B, S, C, H, W] uint8.

        Apart from `forward` so that two networks can share it.
        """
        # Transposed as bytes, then converted and scaled in one pass: the cheapest order on the CPU.
        return frames.flatten(1, 2).contiguous(memory_format=torch.channels_last) * (1 / 255)

    def forward(self, pixels: Tensor) -> Tensor:
        """Latents [B, L] of `pixels` [B, S*C, H, W]."""
        maps = pixels
        for convolution in self.convolutions:
            maps = torch.relu_(convolution(maps))
        return maps.flatten(1)

    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass on one observation (E in the paper's cost formulas)."""
        inputs = self.stack * self.frame_shape[0]
        total = 0
        for layer, (height, width) in zip(self.layers, self.map_sizes, strict=True):
            total += height * width * layer.channels * inputs * layer.kernel**2
            inputs = layer.channels
        return total


def _map_sizes(height: int, width: int, layers: Sequence[Convolution]) -> list[tuple[int, int]]:
    sizes, size = [], (height, width)
    for layer in layers:
        size = (layer.output_size(size[0]), layer.output_size(size[1]))
        if min(size) < 1:
            raise SettingError(
                f"--encoder: a {height}x{width} image is too small for its {layer.kernel}x{layer.kernel} convolution; "
                "choose another --encoder or a larger image"
            )
        sizes.append(size)
    return sizes
