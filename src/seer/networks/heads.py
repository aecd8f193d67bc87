"""Heads: everything above the features.

Axes: B batch, F feature size, A actions, Z atoms of the return distribution (1 for a plain Q-value).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.networks.linear import OfLinearLayers

Weights = tuple[Tensor, Tensor]
"""Weight [out_features, in_features] and bias [out_features] of one layer."""


@dataclass(frozen=True)
class Noise:
    """Factorised noise of one layer, f(e) of Fortunato et al. 2018, eq. 11: [in_features] and [out_features]."""

    inputs: Tensor
    outputs: Tensor


class NoisyLinear(nn.Linear):
    """Linear layer with factorised Gaussian noise on weight and bias (Fortunato et al. 2018, section 3, eq. 9-11).

    The weight is `mu + sigma * f(e_out) f(e_in)^T`, with f(x) = sign(x) sqrt|x|; without noise it is `mu`. `weight`
    and `bias` of nn.Linear are the means.
    """

    def __init__(self, in_features: int, out_features: int, *, initial_sigma: float) -> None:
        super().__init__(in_features, out_features)
        bound = 1 / math.sqrt(in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.weight_sigma = nn.Parameter(torch.full_like(self.weight, initial_sigma / math.sqrt(in_features)))
        self.bias_sigma = nn.Parameter(torch.full_like(self.bias, initial_sigma / math.sqrt(out_features)))

    def forward(self, inputs: Tensor, noise: Noise | None = None) -> Tensor:
        """Outputs [B, out_features] of inputs [B, in_features]: the cheaper way for few inputs."""
        outputs = F.linear(inputs, self.weight, self.bias)
        if noise is None:
            return outputs
        return outputs + noise.outputs * F.linear(inputs * noise.inputs, self.weight_sigma, self.bias_sigma)

    def noisy(self, noise: Noise) -> Weights:
        """The noisy weight and bias, to be used on many inputs."""
        weight = torch.addcmul(self.weight, self.weight_sigma, torch.outer(noise.outputs, noise.inputs))
        return weight, torch.addcmul(self.bias, self.bias_sigma, noise.outputs)


class ValueHead(OfLinearLayers):
    """One hidden layer per stream, then Q-values or return distributions: features [B, F] -> outputs [B, A, Z] float32.

    dueling: a value and an advantage stream, joined as V + A - mean(A) (Wang et al. 2016, eq. 9); otherwise one
        stream. noisy_sigma: initial noise of NoisyLinear layers; None means plain linear layers. precision: what
        `weights` and passes that use them compute in.

    Acting calls the head itself. Learning makes `weights` once for all the passes that share them.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        num_actions: int,
        num_atoms: int = 1,
        hidden_units: int,
        dueling: bool,
        noisy_sigma: float | None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.num_actions, self.num_atoms, self.precision = num_actions, num_atoms, precision

        def linear(inputs: int, outputs: int) -> nn.Linear:
            if noisy_sigma is None:
                return nn.Linear(inputs, outputs)
            return NoisyLinear(inputs, outputs, initial_sigma=noisy_sigma)

        def stream(outputs: int) -> nn.Sequential:
            return nn.Sequential(linear(feature_size, hidden_units), nn.ReLU(), linear(hidden_units, outputs))

        self.advantage = stream(num_actions * num_atoms)
        self.value = stream(num_atoms) if dueling else None
        # Found once: walking through the modules takes 8 microseconds, and an update would do it seven times.
        self._layers = tuple(layer for layer in self.modules() if isinstance(layer, nn.Linear))

    def draw_noise(self, generator: torch.Generator) -> list[Noise]:
        """New noise for every noisy layer from `generator`, which must live on this head's device."""
        layers = [layer for layer in self._layers if isinstance(layer, NoisyLinear)]
        sizes = [size for layer in layers for size in (layer.in_features, layer.out_features)]
        normal = torch.empty(sum(sizes), device=generator.device).normal_(generator=generator)
        parts = (normal.sign() * normal.abs().sqrt_()).split(sizes)
        return [Noise(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]

    def forward(self, features: Tensor, noises: Sequence[Noise] = ()) -> Tensor:
        """Return outputs [B, A, Z] of features [B, F]; without `noises`, those of the mean weights."""
        if not noises:  # through the modules, so that their hooks are called
            return self._join(self.advantage(features), None if self.value is None else self.value(features))
        layers, ends = cast(Sequence[NoisyLinear], self._layers), []
        for first, last, *noise in zip(layers[::2], layers[1::2], noises[::2], noises[1::2], strict=True):
            hidden = first.forward(features, noise[0]).relu()
            ends.append(last.forward(hidden, noise[1]))
        return self._join(*ends)

    def weights(self, noises: Sequence[Noise]) -> list[Weights]:
        """Weight and bias of every layer, noisy where it is; `noises` as `draw_noise` gave them."""
        left = iter(noises)
        found = [
            layer.noisy(next(left)) if isinstance(layer, NoisyLinear) else (layer.weight, layer.bias)
            for layer in self._layers
        ]
        return [(weight.to(self.precision), bias.to(self.precision)) for weight, bias in found]

    def outputs(self, features: Tensor, weights: Sequence[Weights]) -> Tensor:
        """Return outputs [B, A, Z] of features [B, F], given `weights`."""
        features, ends = features.to(self.precision), []
        for first, last in zip(weights[::2], weights[1::2], strict=True):
            ends.append(F.linear(F.linear(features, *first).relu(), *last))
        return self._join(*ends).float()

    def _join(self, advantage: Tensor, value: Tensor | None = None) -> Tensor:
        """Outputs [B, A, Z] of what the streams' last layers give, [B, A * Z] and [B, Z]."""
        advantage = advantage.view(-1, self.num_actions, self.num_atoms)
        return advantage if value is None else value[:, None] + advantage - advantage.mean(dim=1, keepdim=True)
