"""What an encoder knows of its stages: how they follow each other, what they give, of what shape.

Axes: B batch, C channels, H, W, F feature size.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seer.core.sensors import Sensed

Features = tuple[Tensor, ...]
"""Features of observations, [B, F] float32 for each head that reads its own: one, or with SAC the critic's and the
actor's. A tuple, so that a loss on one leaves the others' gradients None, not zeros that Adam would act on."""

Inputs = Tensor | Sensed
"""What a stage reads: pixels or maps [B, C, H, W], of several cameras with vectors `Sensed`."""


def run(stages: Iterable[nn.Module], inputs: Inputs) -> Any:
    """Return the last stage's output: maps [B, C, H, W], or one or several [B, F], or `Sensed`."""
    outputs: Any = inputs
    for stage in stages:
        outputs = stage(outputs)
    return outputs


def as_vectors(outputs: Inputs | Features) -> Features:
    """Return outputs as float32 [B, F] each, maps flattened."""
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
