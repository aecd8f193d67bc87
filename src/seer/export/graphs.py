"""The agent as two graphs without state: frames to latents, latents to action.

They are made of the agent's own layers, so there is no second copy of a network. Only the way from bytes to pixels is
written again: the agent's transposes bytes by 32-bit arithmetic, for which ONNX has no operator.

Axes: B batch, S stack, C channels, H, W, N latents per observation, L latent, A actions.
"""

from typing import Any

import torch
from torch import Tensor, nn

from seer.agents.actor_critic import ACTOR
from seer.agents.agent import Agent
from seer.agents.rainbow import Rainbow
from seer.agents.sac import Sac
from seer.errors import SettingError


class EncoderGraph(nn.Module):
    """Turns frames [B, S, C, H, W] uint8 into latents [B, N, L] float32: crop, scaling and the encoder's base."""

    outputs = ("latents",)

    def __init__(self, agent: Agent[Any]) -> None:
        super().__init__()
        self.encoder, self._view = agent.online.encoder, agent.view

    def forward(self, frames: Tensor) -> Tensor:
        """Return latents [B, N, L]."""
        return self.encoder.encode(self._view(frames).flatten(1, 2).float() * (1 / 255))


class ValuePolicy(nn.Module):
    """Rainbow and DQN: from latents [B, N, L] to greedy actions [B] int64 and Q-values [B, A], without noise."""

    outputs = ("action", "q_values")

    def __init__(self, agent: Rainbow) -> None:
        super().__init__()
        self.encoder, self.head, self.value = agent.online.encoder, agent.online.head, agent.value

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions and Q-values."""
        (features,) = self.encoder.finish(latents)
        values = self.value.expected(self.head(features))
        return values.argmax(-1), values


class MeanPolicy(nn.Module):
    """SAC and CURL: from latents [B, N, L] to the policy's mean actions [B, A] in [-1, 1]."""

    outputs = ("action",)

    def __init__(self, agent: Sac) -> None:
        super().__init__()
        self.encoder, self.actor = agent.online.encoder, agent.actor

    def forward(self, latents: Tensor) -> Tensor:
        """Return actions."""
        mean, _ = self.actor(self.encoder.finish(latents)[ACTOR])
        return torch.tanh(mean)


Policy = ValuePolicy | MeanPolicy


def policy_of(agent: Agent[Any]) -> Policy:
    """Return what acts on the agent's latents; SettingError for an agent without a policy here."""
    if isinstance(agent, Rainbow):
        return ValuePolicy(agent)
    if isinstance(agent, Sac):
        return MeanPolicy(agent)
    raise SettingError(f"seer export knows no policy of {type(agent).__name__}: Rainbow, DQN, SAC and CURL have one")
