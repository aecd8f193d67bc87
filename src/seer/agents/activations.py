"""The outputs of every layer of an agent for some observations, for measurements; training doesn't use them.

Axes: B batch, S stack, C channels, H, W, N latents per observation, L latent size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seer.agents.agent import Agent
from seer.core.encoder import FreezableEncoder
from seer.core.feature_stability import image_outputs
from seer.core.sensors import Sensed, SensorStage
from seer.networks.projections import Projections

OUTPUT = " output"
"""End of the names of a head's outputs; its other layers are hidden ones."""

PROJECTIONS = ("critic latent", "actor latent")

Activations = dict[str, Tensor]
"""Outputs by layer, from the pixels up: maps [B, C, H, W] or units [B, units], float32."""


@torch.no_grad()
def encoder_activations(agent: Agent[Any], frames: Tensor) -> Activations:
    """Return every stage's outputs, online, of stacked frames [B, S, C, H, W] uint8, as acting sees them."""
    encoder: FreezableEncoder = agent.online.encoder
    with _recording(_stages(encoder)) as found:
        encoder(encoder.pixels(agent.view(frames)))
    return found


@torch.no_grad()
def head_activations(agent: Agent[Any], latents: Tensor) -> Activations:
    """Return the hidden units [B, units] of every head, after their ReLU, and its outputs, for latents [B, N, L]."""
    with _recording(_head_layers(agent)) as found:
        agent.judge(latents, agent.online)
    return found


@torch.no_grad()
def all_activations(agent: Agent[Any], frames: Tensor) -> Activations:
    """Return `encoder_activations` and `head_activations` of the same frames, from one pass."""
    encoder: FreezableEncoder = agent.online.encoder
    with _recording(_stages(encoder) | _head_layers(agent)) as found:
        agent.judge(encoder.encode(encoder.pixels(agent.view(frames))), agent.online)
    return found


def frozen_layers(agent: Agent[Any]) -> set[str]:
    """Return the names, as in `encoder_activations`, of the layers that the freeze freezes or would freeze."""
    encoder: FreezableEncoder = agent.online.encoder
    names: list[str] = []
    for number, stage in enumerate(encoder.base, start=1):
        cameras = len(stage.cameras) if isinstance(stage, SensorStage) else 1
        names += PROJECTIONS if isinstance(stage, Projections) else _names(f"encoder {number}", cameras)
    return set(names)


def _names(layer: str, cameras: int) -> list[str]:
    """Return the names of a layer, one for each camera."""
    return [layer] if cameras == 1 else [f"{layer}, camera {number}" for number in range(1, cameras + 1)]


def _stages(encoder: FreezableEncoder) -> dict[str, nn.Module]:
    """Return the stages that learn, from the pixels up, without the average of --latent-pool."""
    stages = {f"encoder {number}": stage for number, stage in enumerate(encoder.stages, start=1)}
    return {name: stage for name, stage in stages.items() if any(True for _ in stage.parameters())}


def _head_layers(agent: Agent[Any]) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for head, module in agent.heads().items():
        for name, stream in module.named_modules():
            if isinstance(stream, nn.Sequential):
                label = f"{head} {name}".removesuffix(" layers")
                rectified = [layer for layer in stream if isinstance(layer, nn.ReLU)]
                found |= {f"{label} {number}": layer for number, layer in enumerate(rectified, start=1)}
                found[label + OUTPUT] = stream[-1]
    return found


@contextmanager
def _recording(layers: dict[str, nn.Module]) -> Iterator[Activations]:
    """Give a dict that gets the first output of each of these layers inside `with`."""
    found: Activations = {}
    handles = [layer.register_forward_hook(_note(found, name)) for name, layer in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _note(found: Activations, name: str) -> Any:
    def note(module: nn.Module, _inputs: Any, output: Tensor | tuple[Tensor, ...] | Sensed) -> None:
        outputs = image_outputs(module, output)
        names = PROJECTIONS if isinstance(output, tuple) else _names(name, len(outputs))
        for part, units in zip(names, outputs, strict=True):
            found.setdefault(part, units.detach().float())

    return note
