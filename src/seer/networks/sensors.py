"""Encoders of several cameras and vectors: the same layers for each camera, side by side.

Axes: B batch, S stack, C channels of one frame, H, W.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from seer.core.encoder import FreezableEncoder
from seer.core.module_stage import ModuleStage
from seer.core.packing import EachCamera, Packing
from seer.core.sensors import RunningNormalization, SensorPixels, SensorStage
from seer.core.stages import Frames, unchanged
from seer.errors import SettingError
from seer.networks.convolutions import MapShape
from seer.networks.encoders import ConvolutionForm, assemble, squares_of
from seer.networks.pixels import Pixels
from seer.networks.projections import SensorProjections

StagesOf = Callable[[str, MapShape], list[nn.Module]]
"""From a camera's name and (C, H, W) of its frames, as its layers see them, to these layers."""


def sensor_encoder(
    cameras: Mapping[str, nn.Module], packing: Packing, *, stack: int = 1, **options: Any
) -> FreezableEncoder:
    """Return an encoder of packed frames [B, S, 1, 1, P], for a training loop of one's own.

    Its features are those of all cameras, and the vectors of all S moments, normalised by what `observe` and `row` were
    given until the freeze. A target encoder that averages parameters needs the same: `encoder.share_ranges(target)`.

    Args:
        cameras: by name, a module from images [B, S*C, H, W] in [0, 1] to features.
        packing: of the frames; it makes them too.
        stack: S.
        options: `view` and `augment` of one camera's frames [B, S, C, H, W], and others of `FreezableEncoder`.

    Raises:
        SettingError: a camera has no module, or one that doesn't take its images.
    """
    if missing := [name for name in packing.cameras if name not in cameras]:
        raise SettingError(f"cameras has no module for {', '.join(missing)}: packing names them")

    def stages_of(name: str, shape: MapShape) -> list[nn.Module]:
        channels, height, width = shape
        return [ModuleStage(cameras[name], (stack * channels, height, width))]

    return assemble_sensors(stages_of, packing, stack=stack, **options)


def assemble_sensors(
    stages_of: StagesOf,
    packing: Packing,
    *,
    stack: int,
    projections: int = 0,
    feature_size: int = 0,
    frozen_stages: int | None = None,
    precision: torch.dtype = torch.float32,
    convolution: ConvolutionForm = "direct",
    view: Frames = unchanged,
    augment: Frames | None = None,
    pixels: nn.Module | None = None,
    **options: Any,
) -> FreezableEncoder:
    """Return an encoder of packed frames [B, S, 1, 1, P], each camera through layers of its own.

    Args:
        stages_of: makes a camera's layers.
        packing: of the frames.
        stack: S.
        projections: heads that get features of their own, of size `feature_size`, above the maps of all cameras.
        frozen_stages, precision, convolution: as for `encoders.assemble`.
        view, augment, pixels: of one camera's frames [B, S, C, H, W], as for `FreezableEncoder`.
        options: `FreezableEncoder`'s others.
    """
    seen = packing if view is unchanged else EachCamera(packing, view).changed()
    rows = [stages_of(name, shape) for name, shape in seen.cameras.items()]
    reads = [_reads(row, frozen_stages, precision, convolution, pixels) for row in rows]
    make = functools.partial(SensorStage, vector_size=stack * packing.num_numbers)
    normalization = RunningNormalization(packing.num_numbers)
    lowest, *others = zip(*rows, strict=True)
    stages: list[Any] = [make(lowest, normalization=normalization), *map(make, others)]
    if projections:
        stages.append(SensorProjections(stages[-1], heads=projections, feature_size=feature_size))
    return assemble(
        stages,
        frozen_stages=frozen_stages,
        precision=precision,
        pixels=SensorPixels(seen, [each for each, _ in reads]),
        inputs=SensorPixels(seen, [each for _, each in reads]),
        view=view if view is unchanged else EachCamera(packing, view),
        augment=None if augment is None else EachCamera(packing, augment),
        **options,
    )


def _reads(
    row: list[nn.Module], frozen: int | None, precision: torch.dtype, convolution: ConvolutionForm, pixels: Any
) -> tuple[nn.Module, nn.Module]:
    """Return what a camera's lowest layer reads of frames, and the form of it that is cheapest."""
    if pixels is not None:
        return pixels, pixels
    return Pixels(precision), squares_of(row[:frozen], precision, convolution) or Pixels(precision)
