"""The seam: what the training loop and the replay know about an agent, whatever its algorithm."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from seer.flops import Cost
from seer.phase import Phase
from seer.replay import Batch, RowFormat


@dataclass(frozen=True)
class Update:
    """What one gradient step reports: scalar metrics (0-d tensors or floats), and new priorities [B] if it has any."""

    metrics: dict[str, Tensor]
    priority: Tensor | None


class Agent(Protocol):
    """An off-policy agent whose encoder can be frozen.

    Axes: B batch, S stack, C channels, H, W, K crops, N encoders, L latent.
    """

    phase: Phase
    cost: Cost
    latent: RowFormat  # [K, N, L] float32: one row of the replay after the freeze

    def decide(self, observation: np.ndarray) -> tuple[Any, Tensor]:
        """Exploring action for one observation [S, C, H, W] uint8, and the row the replay stores for it."""

    def row(self, observation: np.ndarray) -> Tensor:
        """What the replay stores for an observation: its newest frame [C, H, W], or its latents [K, N, L]."""

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions [B, ...] without exploration for observations [B, S, C, H, W] uint8."""

    def encode(self, frames: Tensor) -> Tensor:
        """Latents [B, K, N, L] float32 of stacked frames [B, S, C, H, W] uint8."""

    def update(self, batch: Batch) -> Update:
        """One gradient step; the same text in every phase."""

    def freeze(self, phase: Phase) -> None:
        """Stop the encoder's learning for good; `phase` says what the replay holds from now on."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`, in its phase."""
