"""What an encoder knows of its stages: what they read, how they follow each other, what they give, of what shape.

Axes: B batch, S stack, C channels, H, W, F feature size.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seer.core.phase import Phase
from seer.core.sensors import Sensed
from seer.errors import SettingError

Features = tuple[Tensor, ...]
"""Features of observations, [B, F] float32 for each head that reads its own: one, or with SAC the critic's and the
actor's. A tuple, so that a loss on one leaves the others' gradients None, not zeros that Adam would act on."""

Inputs = Tensor | Sensed
"""What a stage reads: pixels or maps [B, C, H, W], of several cameras with vectors `Sensed`."""


Frames = Callable[[Tensor], Tensor]
"""From frames [B, S, C, H, W] uint8."""

Reading = Callable[[Tensor], Any]
"""From frames to what a stage reads, `Inputs`."""


def scaled(frames: Tensor) -> Tensor:
    """Return what most encoders read: frames [B, S, C, H, W] uint8 as [B, S*C, H, W] float32 in [0, 1]."""
    return frames.flatten(1, 2).float() / 255


def unchanged(frames: Tensor) -> Tensor:
    """Return the frames."""
    return frames


def as_frames(observation: NDArray[np.uint8], shape: tuple[int, ...] | None) -> Tensor:
    """Return a copy of one observation [S, C, H, W] uint8; `shape` is what it must have, where that is known.

    A copy, as a loop may write the next observation into the same array before it stores the row.

    Raises:
        SettingError: it is something else, which would be misread.
    """
    array = np.array(observation, order="C")
    if array.dtype != np.uint8 or array.ndim != 4 or shape not in (None, array.shape):
        wanted = "[S, C, H, W], such as [4, 1, 84, 84]" if shape is None else list(shape)
        remedy = "[S, H, W, C] np.moveaxis(pictures, -1, 1)" if array.ndim != 3 else "[S, H, W] pictures[:, None]"
        raise SettingError(
            f"the observation is {array.dtype} {list(array.shape)}, not uint8 {wanted}: the last S pictures, oldest "
            f"first, each with its channels first (of pictures {remedy})"
        )
    return torch.from_numpy(array)


def refuse_unprepared(prepared: Inputs, inputs: Reading, latent_shape: tuple[int, ...]) -> None:
    """Raise SettingError for what an encoder that learns can't embed: latents, or frames that `inputs` hasn't read."""
    if not isinstance(prepared, Tensor):
        return
    if prepared.shape[1:] == latent_shape:
        raise SettingError(
            "this encoder isn't frozen, but is given latents: freeze it with the other one, "
            "encoder.freeze_and_transcode(replay, target_encoder)"
        )
    if inputs is scaled and prepared.dtype == torch.uint8:
        raise SettingError(
            "embed is given frames, uint8, as a replay samples them: embed(encoder.prepare(frames)), which scales them"
        )


def refuse_other_phase(phase: Phase, stored: Tensor) -> None:
    """Raise SettingError for observations of another phase than the encoder's: latents or, uint8, frames."""
    if phase is Phase.LATENTS and stored.dtype == torch.uint8:
        raise SettingError(
            "this encoder is frozen and reads latents, but is given frames: encoder.encode_rows(frames)[:, 0] gives "
            "theirs"
        )
    if phase is not Phase.LATENTS and stored.dtype != torch.uint8:
        raise SettingError(
            "this encoder isn't frozen and reads frames, uint8, but is given latents: bring it to where its replay is "
            "by encoder.restore(state)"
        )


def run(stages: Iterable[nn.Module], inputs: Inputs) -> Any:
    """Return the last stage's output: maps [B, C, H, W], or one or several [B, F], or `Sensed`."""
    outputs: Any = inputs
    for stage in stages:
        outputs = stage(outputs)
    return outputs


def features_of(stages: Iterable[nn.Module], inputs: Inputs) -> Features:
    """Return the last stage's outputs as float32 [B, F] each, maps flattened."""
    outputs = run(stages, inputs)
    if isinstance(outputs, tuple):
        return outputs
    if isinstance(outputs, Sensed):
        return (outputs.flat(),)
    return (outputs.to(torch.promote_types(outputs.dtype, torch.float32)).flatten(1),)


def shape_of(stage: nn.Module) -> tuple[int, ...]:
    """Return the shape of a stage's output for one observation."""
    return tuple(stage.output_shape)  # type: ignore[arg-type]


def num_outputs(stage: nn.Module) -> int:
    """Return how many outputs a stage has."""
    return int(getattr(stage, "num_outputs", 1))


def flat_shape(stage: nn.Module) -> tuple[int, int]:
    """Return how many outputs a stage has, and how many numbers each has for one observation."""
    count = num_outputs(stage)
    return count, math.prod(shape_of(stage)) // count
