"""The parts of an agent: settings, actions, an encoder, random numbers. `AgentSpec.make` gets them."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from seer.agents.optimizers import Adam
from seer.agents.settings import LearningConfig, OwnSettings, SacConfig, ValueConfig
from seer.core.encoder import FreezableEncoder
from seer.networks.augment import Crop


@dataclass(frozen=True)
class Generators:
    """Hold the random generators of noise or policy (on the networks' device), of exploration, and of crops (CPU)."""

    policy: torch.Generator
    actions: np.random.Generator
    crops: torch.Generator


@dataclass(frozen=True)
class AgentInputs:
    """Hold everything that an agent is made of.

    Attributes:
        learning, value, sac: groups of settings, of which an agent reads those it has.
        own: settings of this agent alone, of the class that its `AgentSpec` names.
        image_size, view_size: side in pixels of a frame, and of what the encoder sees of it.
        num_crops: views of each observation whose latents are stored, K.
        action_space: Discrete from 0, or a Box of [-1, 1].
        precision: dtype that layers compute in.
        make_encoder: makes the encoder; with `projections=N`, that many above its convolutions; other keywords are
            those of `FreezableEncoder`.
        brings_encoder: its lowest stages are a module of the user's, which keeps the weights that it comes with.
        seeds: of weights (drawn from PyTorch's global generator, already seeded), noise or policy, exploration, views.
    """

    learning: LearningConfig
    value: ValueConfig
    sac: SacConfig
    own: OwnSettings
    image_size: int
    view_size: int
    num_crops: int
    action_space: spaces.Space[Any]
    device: torch.device
    precision: torch.dtype
    make_encoder: Callable[..., FreezableEncoder]
    brings_encoder: bool
    seeds: Sequence[int]

    @property
    def num_actions(self) -> int:
        """Return the number of actions of a Discrete space."""
        assert isinstance(self.action_space, spaces.Discrete)
        return int(self.action_space.n)

    @property
    def action_size(self) -> int:
        """Return how many numbers an action of a Box has."""
        return math.prod(self.action_space.shape or ())

    def crops(self, crop: Callable[..., Tensor], **options: Any) -> Crop:
        """Return `crop`, a function of frames and size, for frames [B, S, C, H, W] of the run's image size."""
        return Crop(functools.partial(crop, **options), size=self.view_size, whole=self.image_size)

    def control_sizes(self, encoder: FreezableEncoder) -> dict[str, Any]:
        """Return the sizes of actors and critics of continuous actions above an encoder, by keyword."""
        return {
            "feature_size": encoder.output_size,
            "action_size": self.action_size,
            "hidden_units": self.learning.hidden_units,
            "precision": self.precision,
        }

    def generators(self) -> Generators:
        """Return the agent's random generators, at their start."""
        _, policy, actions, crops = self.seeds
        return Generators(
            policy=torch.Generator(self.device).manual_seed(policy),
            actions=np.random.default_rng(actions),
            crops=torch.Generator().manual_seed(crops),
        )


def adam(learning_rate: float, **options: Any) -> Callable[[Iterable[torch.nn.Parameter]], Adam]:
    """Return a function that makes Adam optimisers; fused, which is several times as fast on small layers."""
    return functools.partial(Adam, lr=learning_rate, fused=True, **options)
