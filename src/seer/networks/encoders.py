"""Encoders: stages of convolutions, of which the lower ones, the base, can be frozen.

Axes: B batch, S stack, C channels of one frame, H height, W width, N latents per observation, L latent size.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.errors import SettingError
from seer.networks.linear import Linear
from seer.networks.pixels import channels_last, gather_squares, nested_squares

MapShape = tuple[int, int, int]  # channels, height, width
ConvolutionForm = Literal["direct", "patches"]


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

IMPALA_CHANNELS = (16, 32, 32)
"""Of the three sections of the larger encoder (Espeholt et al. 2018, figure 3, right)."""


class Encoder(nn.Module):
    """Stages in a row; `base` is what the freeze freezes, `above` goes on learning.

    `encoder(encoder.pixels(frames))` gives N latents [B, L] float32 of stacked frames [B, S, C, H, W] uint8, as a
    tuple, so that a loss on one leaves the others' gradients alone. The replay stores what `base` gives,
    [B, *latent_shape]; `above` turns that into the output.

    Args:
        stages: from the pixels up; each says its `output_shape` and its `multiply_adds()` for one observation.
        frozen_stages: how many of them the freeze freezes; all by default.
        precision: what the stages compute in: each casts its float32 parameters to the dtype of its input.
        convolution: "patches" computes the lowest stages whose kernels are as large as their strides as matrix products
            on squares of pixels, if they are to be frozen; "direct" leaves all of them to PyTorch's convolution.

    Raises:
        SettingError: `frozen_stages` is no number of stages.
    """

    _order: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module],
        *,
        frozen_stages: int | None = None,
        precision: torch.dtype = torch.float32,
        convolution: ConvolutionForm = "direct",
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.precision = precision
        self.frozen_stages = len(stages) if frozen_stages is None else frozen_stages
        if not 1 <= self.frozen_stages <= len(stages):
            raise SettingError(
                f"--freeze-layers {self.frozen_stages}: the encoder has {len(stages)} layers; give 1 to {len(stages)}"
            )
        self._cut_shape = _shape(self.stages[self.frozen_stages - 1])
        self.latent_shape = _flat(self._cut_shape)
        self.output_size = _flat(_shape(self.stages[-1]))[1]  # L
        products = _side_by_side(self.base) if convolution == "patches" else []
        self._products = len(products)  # stages, from the lowest up
        self._kernels = [stage.kernel_size[0] for stage in products]
        _, height, width = products[0].input_shape if products else (0, 0, 0)
        self.register_buffer("_order", nested_squares(height, width, self._kernels), persistent=False)

    @property
    def base(self) -> Sequence[nn.Module]:
        """The stages that the freeze freezes."""
        return list(self.stages)[: self.frozen_stages]

    @property
    def above(self) -> Sequence[nn.Module]:
        """The stages that go on learning."""
        return list(self.stages)[self.frozen_stages :]

    def inputs(self, frames: Tensor) -> Tensor:
        """What is cheapest for a pass to read of stacked frames [B, S, C, H, W] uint8: `pixels`, or squares of them.

        Apart from the passes so that two networks can share it. The squares, [B, P, kernel^2 * S*C], lie so that
        the outputs of each stage are the rows of the next one's product.
        """
        if not self._products:
            return self.pixels(frames)
        squares = gather_squares(frames.flatten(1, 2), self._order, self._kernels[0])
        return squares.to(self.precision).mul_(1 / 255)

    def pixels(self, frames: Tensor) -> Tensor:
        """What the first stage itself reads: [B, S*C, H, W] in [0, 1], of stacked frames [B, S, C, H, W] uint8."""
        # Transposed as bytes, then converted: the cheapest order on the CPU.
        return channels_last(frames.flatten(1, 2)).to(self.precision).mul_(1 / 255)

    def encode(self, pixels: Tensor) -> Tensor:
        """What the replay stores, [B, *latent_shape], of `inputs` or `pixels`."""
        return torch.stack(_flatten(self._pass(self.base, pixels)), dim=1)

    def finish(self, latents: Tensor) -> tuple[Tensor, ...]:
        """The N latents [B, L] of what the replay stored, [B, *latent_shape]."""
        if self.frozen_stages == len(self.stages):
            return latents.unbind(1)
        return _flatten(_run(self.above, latents.view(-1, *self._cut_shape).to(self.precision)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The N latents [B, L] of `inputs` or `pixels`."""
        return _flatten(self._pass(list(self.stages), pixels))

    def one(self, pixels: Tensor, latent: int) -> Tensor:
        """Return the latent [B, L] of this number of `inputs` or `pixels`, without the others' projections."""
        *below, last = self.stages
        if not isinstance(last, Projections):
            return self(pixels)[latent]  # type: ignore[no-any-return]
        maps = self._pass(below, pixels)
        assert isinstance(maps, Tensor)
        return last.one(maps, latent)

    def _pass(self, stages: Sequence[nn.Module], inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Outputs of stages from the lowest up, of pixels [B, S*C, H, W] or their squares [B, P, kernel^2 * S*C]."""
        if inputs.ndim == 4:
            return _run(stages, inputs)
        rows = inputs.flatten(0, 1)
        for stage in stages[: self._products]:
            rows = stage.multiply(rows)  # type: ignore[operator]
        channels, height, width = _shape(stages[self._products - 1])
        return _run(stages[self._products :], rows.view(-1, height, width, channels).permute(0, 3, 1, 2))

    def freeze_base(self, target: "Encoder") -> None:
        """Stop the base's learning for good, and give `target` the same base."""
        for index, stage in enumerate(self.base):
            stage.requires_grad_(False)
            stage.zero_grad()  # or its last gradient would count in a clipped norm for ever
            target.stages[index] = stage

    def base_parameters(self) -> list[nn.Parameter]:
        """What stops learning at the freeze."""
        return [parameter for stage in self.base for parameter in stage.parameters()]

    def above_parameters(self) -> list[nn.Parameter]:
        """What goes on learning."""
        return [parameter for stage in self.above for parameter in stage.parameters()]

    def own_parameters(self, latent: int) -> list[nn.Parameter]:
        """Return what only the latent of this number passes: its projection, where there are several."""
        last = self.stages[-1]
        return last.own_parameters(latent) if isinstance(last, Projections) else []

    def multiply_adds(self) -> tuple[int, int]:
        """Of one forward pass on one observation: the base (E in the paper's cost formulas) and what is above it."""
        costs = [int(stage.multiply_adds()) for stage in self.stages]  # type: ignore[operator]
        return sum(costs[: self.frozen_stages]), sum(costs[self.frozen_stages :])


class ConvStage(nn.Conv2d):
    """A convolution and a ReLU: maps [B, channels, H, W] -> [B, *output_shape].

    Weights and activations are kept channels-last, which is where CPU and GPU convolutions are fastest.

    Raises:
        SettingError: the input is smaller than the kernel.
    """

    def __init__(self, input_shape: MapShape, layer: Convolution, *, padding: int = 0) -> None:
        channels, height, width = input_shape
        super().__init__(channels, layer.channels, layer.kernel, layer.stride, padding)
        self.output_shape = (layer.channels, *(_side(side, layer, padding) for side in (height, width)))
        self.input_shape = input_shape
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its annotations

    def forward(self, maps: Tensor) -> Tensor:
        """Rectified maps."""
        return F.relu(self.convolve(maps), inplace=True)

    def convolve(self, maps: Tensor) -> Tensor:
        """The convolution alone."""
        assert self.bias is not None
        weight, bias = self.weight.to(maps.dtype), self.bias.to(maps.dtype)
        return F.conv2d(maps, weight, bias, self.stride, self.padding)

    def multiply(self, squares: Tensor) -> Tensor:
        """Rectified outputs [rows, channels] of what the kernel reads, [as many numbers as fill those rows]."""
        assert self.bias is not None
        weight = self.weight.to(squares.dtype).permute(0, 2, 3, 1).flatten(1)  # no copy, as it is channels-last
        rows = squares.view(-1, weight.shape[1])
        return F.relu(F.linear(rows, weight, self.bias.to(squares.dtype)), inplace=True)

    def multiply_adds(self) -> int:
        """Of one forward pass on one observation."""
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
        """Rectified maps of the section."""
        blocks = list(self.blocks)
        maps = self.pool(self.entry.convolve(maps))
        for first, second in ((blocks[0], blocks[1]), (blocks[2], blocks[3])):
            assert isinstance(second, ConvStage)
            maps = maps + second.convolve(first(F.relu(maps)))
        return F.relu(maps)

    def multiply_adds(self) -> int:
        """Of one forward pass on one observation."""
        return self.entry.multiply_adds() + sum(block.multiply_adds() for block in self.blocks)  # type: ignore[operator]


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
        """None: it adds, and multiplies once per output."""
        return 0


class Projections(nn.Module):
    """N fully connected layers with LayerNorm on the same maps [B, C, H, W]: N latents [B, L] (SAC-AE, appendix).

    The first belongs to the critic, whose gradient goes on into the convolutions; the others (the actor's) stop here.
    """

    def __init__(self, input_shape: MapShape, *, latents: int, latent_size: int) -> None:
        super().__init__()
        self.inputs = math.prod(input_shape)
        self.output_shape = (latents, latent_size)
        self.linear = nn.ModuleList(Linear(self.inputs, latent_size) for _ in range(latents))
        self.norm = nn.ModuleList(nn.LayerNorm(latent_size) for _ in range(latents))

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        """N latents [B, L]."""
        return tuple(self.one(maps, latent) for latent in range(len(self.linear)))

    def one(self, maps: Tensor, latent: int) -> Tensor:
        """Return the latent [B, L] of this number."""
        flat = maps.permute(0, 2, 3, 1).flatten(1)  # no copy, as maps are channels-last
        units = self.linear[latent](flat if latent == 0 else flat.detach())
        normed: Tensor = self.norm[latent](_at_least_float32(units))
        return normed

    def own_parameters(self, latent: int) -> list[nn.Parameter]:
        """Return the weights of one latent: its layer and LayerNorm."""
        return [*self.linear[latent].parameters(), *self.norm[latent].parameters()]

    def multiply_adds(self) -> int:
        """Of one forward pass on one observation."""
        return math.prod(self.output_shape) * self.inputs


def convolution_stages(frame_shape: MapShape, *, stack: int, layers: Sequence[Convolution]) -> list[nn.Module]:
    """Plain convolutions on `stack` frames [C, H, W]; SettingError where the frames are too small for them."""
    return _stages(frame_shape, stack, ConvStage, layers)


def impala_stages(frame_shape: MapShape, *, stack: int) -> list[nn.Module]:
    """The 15 convolutions of IMPALA's larger encoder, in three sections (Espeholt et al. 2018, figure 3, right)."""
    return _stages(frame_shape, stack, ResidualSection, IMPALA_CHANNELS)


def _stages(frame_shape: MapShape, stack: int, make: Callable[..., nn.Module], kinds: Iterable[Any]) -> list[nn.Module]:
    """One stage of each kind, each on the maps of the one below it."""
    shape: tuple[int, ...] = (stack * frame_shape[0], *frame_shape[1:])
    stages = []
    for kind in kinds:
        stages.append(make(shape, kind))
        shape = _shape(stages[-1])
    return stages


def _run(stages: Iterable[nn.Module], inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
    outputs: Any = inputs
    for stage in stages:
        outputs = stage(outputs)
    return outputs  # type: ignore[no-any-return]


def _side_by_side(stages: Iterable[nn.Module]) -> list[ConvStage]:
    """The stages, from the lowest up, whose kernels are as large as their strides."""
    found = []
    for stage in stages:
        if not isinstance(stage, ConvStage) or stage.kernel_size != stage.stride or stage.padding != (0, 0):
            break
        found.append(stage)
    return found


def _flatten(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (_at_least_float32(outputs).flatten(1),) if isinstance(outputs, Tensor) else outputs


def _at_least_float32(outputs: Tensor) -> Tensor:
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _shape(stage: nn.Module) -> tuple[int, ...]:
    return tuple(stage.output_shape)  # type: ignore[arg-type]


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 2 else (1, math.prod(shape))


def _side(side: int, layer: Convolution, padding: int) -> int:
    output = (side + 2 * padding - layer.kernel) // layer.stride + 1
    if output < 1:
        raise SettingError(
            f"--encoder: {side} pixels are too few for its {layer.kernel}x{layer.kernel} convolution; "
            "choose another --encoder or a larger image"
        )
    return output
