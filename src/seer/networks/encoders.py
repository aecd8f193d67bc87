"""Encoders by name, put together from their stages.

Axes: S stack, C channels of one frame, H height, W width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from seer.core.encoder import FreezableEncoder
from seer.errors import SettingError
from seer.networks.convolutions import MapShape, Pooling, named_stages, side_by_side
from seer.networks.own_module import own_stages
from seer.networks.pixels import Pixels, Squares
from seer.networks.projections import Projections

ConvolutionForm = Literal["direct", "patches"]


def encoder_stages(
    encoder: str | nn.Module,
    frame_shape: MapShape,
    *,
    stack: int,
    split: bool = False,
    pool: int | None = None,
    projections: int = 0,
    feature_size: int = 0,
) -> list[nn.Module]:
    """Return the stages of an encoder on `stack` frames (C, H, W), from the pixels up.

    Args:
        encoder: "impala", a name of `CONVOLUTIONS`, or a module of one's own.
        split: make a stage of each layer of that module, where it is an `nn.Sequential`, in place of one of them all.
        pool: height and width of the maps that an average leaves.
        projections: heads that get features of their own, of size `feature_size`, above the maps; 0: the maps are the
            features.
    """
    if isinstance(encoder, nn.Module):
        stages: list[Any] = list(own_stages(encoder, frame_shape, stack=stack, split=split))
    else:
        stages = named_stages(encoder, frame_shape, stack=stack)
    if pool is not None:
        stages.append(Pooling(stages[-1].output_shape, pool))
    if projections:
        stages.append(Projections(stages[-1].output_shape, heads=projections, feature_size=feature_size))
    return stages


def assemble(
    stages: list[nn.Module],
    *,
    frozen_stages: int | None = None,
    precision: torch.dtype = torch.float32,
    convolution: ConvolutionForm = "direct",
    **options: Any,
) -> FreezableEncoder:
    """Return the encoder of these stages; `options` are `FreezableEncoder`'s own.

    Args:
        stages: as `encoder_stages` makes them.
        frozen_stages: how many of them the freeze freezes; all by default.
        precision: what the stages compute in: each casts its float32 parameters to the dtype of its input.
        convolution: "patches" computes the lowest stages whose kernels are as large as their strides as matrix products
            on squares of pixels, if they are to be frozen; "direct" leaves all of them to PyTorch's convolution.

    Raises:
        SettingError: `frozen_stages` is no number of stages.
    """
    if frozen_stages is not None and not 1 <= frozen_stages <= len(stages):
        raise SettingError(
            f"--freeze-layers {frozen_stages}: the encoder has {len(stages)} layers; give 1 to {len(stages)}"
        )
    reads: dict[str, Any] = {"pixels": Pixels(precision)}
    if "pixels" not in options and (squares := squares_of(stages[:frozen_stages], precision, convolution)):
        reads["inputs"] = squares
    return FreezableEncoder(stages, frozen_stages=frozen_stages, precision=precision, **(reads | options))


def squares_of(stages: Sequence[nn.Module], precision: torch.dtype, convolution: ConvolutionForm) -> Squares | None:
    """Return what turns frames into squares of pixels, where the lowest of these stages can be products with them."""
    products = side_by_side(stages) if convolution == "patches" else []
    if not products:
        return None
    _, height, width = products[0].input_shape
    return Squares(precision, height, width, [stage.kernel_size[0] for stage in products])
