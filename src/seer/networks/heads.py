"""Heads: everything above the latents.

Axes: B batch, L latent size, A actions, Z atoms of the return distribution (1 for a plain Q-value).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NoisyLinear(nn.Linear):
    """Linear layer with factorised Gaussian noise on weight and bias (Fortunato et al. 2018, section 3, eq. 9-11).

    In training mode the weight is `mu + sigma * f(e_out) f(e_in)^T`, with f(x) = sign(x) sqrt|x|; in evaluation
    mode it is `mu`. `weight` and `bias` of nn.Linear are the means. The noise stays as it is until
    `resample_noise`, and is not part of the state: agents draw it afresh before each use.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(self, in_features: int, out_features: int, *, initial_sigma: float) -> None:
        super().__init__(in_features, out_features)
        bound = 1 / math.sqrt(in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.weight_sigma = nn.Parameter(torch.full_like(self.weight, initial_sigma / math.sqrt(in_features)))
        self.bias_sigma = nn.Parameter(torch.full_like(self.bias, initial_sigma / math.sqrt(out_features)))
        self.register_buffer("noise_in", torch.zeros(in_features), persistent=False)
        self.register_buffer("noise_out", torch.zeros(out_features), persistent=False)

    def resample_noise(self, generator: torch.Generator) -> None:
        """Draw new noise from `generator`, which must live on this layer's device."""
        for noise in (self.noise_in, self.noise_out):
            noise.normal_(generator=generator)
            noise.copy_(noise.sign() * noise.abs().sqrt_())

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, out_features] of inputs [B, in_features]."""
        if not self.training:
            return F.linear(inputs, self.weight, self.bias)
        weight = torch.addcmul(self.weight, self.weight_sigma, torch.outer(self.noise_out, self.noise_in))
        bias = torch.addcmul(self.bias, self.bias_sigma, self.noise_out)
        return F.linear(inputs, weight, bias)


class ValueHead(nn.Module):
    """One hidden layer per stream, then Q-values or return distributions: latent [B, L] -> outputs [B, A, Z].

    dueling: a value and an advantage stream, joined as V + A - mean(A) (Wang et al. 2016, eq. 9); otherwise one
        stream. noisy_sigma: initial noise of NoisyLinear layers; None means plain linear layers.
    """

    def __init__(
        self,
        *,
        latent_size: int,
        num_actions: int,
        num_atoms: int = 1,
        hidden_units: int,
        dueling: bool,
        noisy_sigma: float | None,
    ) -> None:
        super().__init__()
        self.num_actions, self.num_atoms = num_actions, num_atoms

        def linear(inputs: int, outputs: int) -> nn.Linear:
            if noisy_sigma is None:
                return nn.Linear(inputs, outputs)
            return NoisyLinear(inputs, outputs, initial_sigma=noisy_sigma)

        def stream(outputs: int) -> nn.Sequential:
            return nn.Sequential(linear(latent_size, hidden_units), nn.ReLU(), linear(hidden_units, outputs))

        self.advantage = stream(num_actions * num_atoms)
        self.value = stream(num_atoms) if dueling else None

    def forward(self, latent: Tensor) -> Tensor:
        """Outputs [B, A, Z] of latents [B, L]."""
        outputs: Tensor = self.advantage(latent).view(-1, self.num_actions, self.num_atoms)
        if self.value is None:
            return outputs
        value: Tensor = self.value(latent).view(-1, 1, self.num_atoms)
        return value + outputs - outputs.mean(dim=1, keepdim=True)

    def resample_noise(self, generator: torch.Generator) -> None:
        """Draw new noise for every noisy layer; does nothing for plain layers."""
        for module in self.modules():
            if isinstance(module, NoisyLinear):
                module.resample_noise(generator)

    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass on one observation (M in the paper's cost formulas)."""
        return sum(m.in_features * m.out_features for m in self.modules() if isinstance(m, nn.Linear))
