"""Actor and critic of SAC on features.

Axes: B batch, F feature size, A action dimensions.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.networks.linear import OfLinearLayers, Perceptron

LOG_STD_RANGE = (-10.0, 2.0)
"""Bounds of the policy's log standard deviation (CURL's published settings)."""


class Actor(OfLinearLayers):
    """Squashed Gaussian policy: features [B, F] -> mean and log standard deviation [B, A] before the squashing."""

    def __init__(
        self, *, feature_size: int, action_size: int, hidden_units: int, precision: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.layers = Perceptron(feature_size, hidden_units, 2 * action_size, precision=precision)
        self.action_size = action_size

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each [B, A]."""
        mean, log_std = self.layers(features).chunk(2, dim=-1)
        low, high = LOG_STD_RANGE
        return mean, low + 0.5 * (high - low) * (torch.tanh(log_std) + 1)

    def sample(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Actions [B, A] in [-1, 1] and their log-probabilities [B] (Haarnoja et al. 2018, appendix C, eq. 21)."""
        mean, log_std = self(features)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        unsquashed = mean + log_std.exp() * noise
        log_normal = (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        # log(1 - tanh(u)^2), written so that it stays finite for large u.
        log_slope = (2 * (math.log(2) - unsquashed - F.softplus(-2 * unsquashed))).sum(-1)
        return torch.tanh(unsquashed), log_normal - log_slope


class TwinCritic(OfLinearLayers):
    """Two Q-functions on the same features: [B, F], action [B, A] -> [2, B] (clipped double Q, Fujimoto 2018)."""

    def __init__(
        self, *, feature_size: int, action_size: int, hidden_units: int, precision: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.first = Perceptron(feature_size + action_size, hidden_units, 1, precision=precision)
        self.second = Perceptron(feature_size + action_size, hidden_units, 1, precision=precision)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Q-values [2, B]."""
        inputs = torch.cat([features, action], dim=-1)
        return torch.stack([self.first(inputs).squeeze(-1), self.second(inputs).squeeze(-1)])


class Temperature(nn.Module):
    """Weight of the policy's entropy; positive, as its logarithm is what learns (Haarnoja et al. 2018, section 5)."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(initial).log())

    def forward(self) -> Tensor:
        """The temperature, 0-d."""
        return self.log.exp()


class Bilinear(nn.Module):
    """CURL's similarity of queries and keys: z_q^T W z_k (Srinivas et al. 2020, section 4.4)."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(feature_size, feature_size))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Similarities [B queries, B keys] of features [B, F]."""
        return queries @ (self.weight @ keys.T)


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Orthogonal weights, zero biases; a convolution's weights stand in its kernel's centre, the rest is 0.

    What SAC-AE's published code does (delta-orthogonal, Xiao et al. 2018). For `Module.apply`; draws from torch's
    global generator.
    """
    if isinstance(module, nn.Linear):
        nn.init.orthogonal_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        centre = module.kernel_size[0] // 2
        nn.init.zeros_(module.weight)
        gain = nn.init.calculate_gain("relu")
        nn.init.orthogonal_(module.weight[:, :, centre, centre], gain=gain)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
