"""Networks and augmentation of DrQ-v2 (Yarats et al. 2021). Its trunks are the encoder's last stage, `Projections`.

Axes: B batch, S stack, C channels, H, W, F feature size, A action dimensions.
"""

from typing import Any

import torch
from torch import Tensor, nn

from seer.networks.actor_critic import TwinCritic
from seer.networks.augment import random_crop
from seer.networks.linear import OfLinearLayers, Perceptron
from seer.networks.pixels import Pixels


class CentredPixels(Pixels):
    """Frames [B, S, C, H, W] uint8 to pixels [B, S*C, H, W] in [-0.5, 0.5]."""

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).sub_(0.5)


def random_shift(frames: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Return each observation [B, S, C, H, W] moved by up to `pad` whole pixels; its rim fills the gap.

    The published code samples bilinearly at the centres of pixels, which gives the same picture.
    """
    height, width = frames.shape[-2:]
    rows = torch.arange(-pad, height + pad, device=frames.device).clamp(0, height - 1)
    columns = torch.arange(-pad, width + pad, device=frames.device).clamp(0, width - 1)
    return random_crop(frames.index_select(-2, rows).index_select(-1, columns), height, generator)


class DeterministicActor(OfLinearLayers):
    """Policy: features [B, F], before the trunk's tanh -> actions [B, A] in [-1, 1].

    trunk_size: how many of them are the trunk's; vectors behind these are read as they are.
    """

    def __init__(
        self, *, feature_size: int, trunk_size: int, action_size: int, hidden_units: int, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.trunk_size, self.action_size = trunk_size, action_size
        self.layers = Perceptron(feature_size, hidden_units, action_size, precision=precision)

    def forward(self, features: Tensor) -> Tensor:
        """Return the actions."""
        return torch.tanh(self.layers(squashed(features, self.trunk_size)))


class TanhTwinCritic(TwinCritic):
    """Two Q-functions [2, B] of features [B, F], before the trunk's tanh, and an action [B, A].

    trunk_size: as of `DeterministicActor`.
    """

    def __init__(self, *, trunk_size: int, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.trunk_size = trunk_size

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        return super().forward(squashed(features, self.trunk_size), action)


def squashed(features: Tensor, trunk_size: int) -> Tensor:
    """Return features [B, F] with the tanh of the trunk's, the first `trunk_size`."""
    if features.shape[1] == trunk_size:
        return torch.tanh(features)
    return torch.cat([torch.tanh(features[:, :trunk_size]), features[:, trunk_size:]], 1)


@torch.no_grad()
def initialize_orthogonal(module: nn.Module) -> None:
    """Give linear layers and convolutions orthogonal weights and no bias, as the published code; for `Module.apply`."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        gain = nn.init.calculate_gain("relu") if isinstance(module, nn.Conv2d) else 1.0
        # Through a tensor of plain order, as the weights of convolutions are channels-last.
        module.weight.copy_(nn.init.orthogonal_(torch.empty(module.weight.shape), gain))
        assert module.bias is not None
        nn.init.zeros_(module.bias)
