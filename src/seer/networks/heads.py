"""Heads: everything above the latents.

Axes: B batch, L latent size, A actions, Z atoms of the return distribution (1 for a plain Q-value).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        noisy = F.linear(inputs * noise.inputs, self.weight_sigma, self.bias_sigma)
        return torch.addcmul(outputs, noise.outputs, noisy)

    def write(self, noise: Noise, weight: Tensor, bias: Tensor) -> None:
        """Write the noisy weight and bias, for many inputs; the outer product itself is never formed."""
        torch.mul(self.weight_sigma, noise.inputs, out=weight)
        torch.addcmul(self.weight, weight, noise.outputs[:, None], out=weight)
        torch.addcmul(self.bias, self.bias_sigma, noise.outputs, out=bias)


class ValueHead(nn.Module):
    """One hidden layer per stream, then Q-values or return distributions: latent [B, L] -> outputs [B, A, Z] float32.

    dueling: a value and an advantage stream, joined as V + A - mean(A) (Wang et al. 2016, eq. 9); otherwise one
        stream. noisy_sigma: initial noise of NoisyLinear layers; None means plain linear layers. precision: what
        `learn` computes in.

    Acting calls the head itself, on few latents; learning calls `learn`, on many.
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
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.num_actions, self.num_atoms, self.precision = num_actions, num_atoms, precision

        def linear(inputs: int, outputs: int) -> nn.Linear:
            if noisy_sigma is None:
                return nn.Linear(inputs, outputs)
            return NoisyLinear(inputs, outputs, initial_sigma=noisy_sigma)

        def stream(outputs: int) -> nn.Sequential:
            return nn.Sequential(linear(latent_size, hidden_units), nn.ReLU(), linear(hidden_units, outputs))

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

    def forward(self, latent: Tensor, noises: Sequence[Noise] = ()) -> Tensor:
        """Outputs [B, A, Z] of latents [B, L]; without `noises`, of the means."""
        if not noises:  # through the modules, so that their hooks are called
            return self.join(self.advantage(latent), None if self.value is None else self.value(latent))
        layers, ends = cast(Sequence[NoisyLinear], self._layers), []
        for first, last, *noise in zip(layers[::2], layers[1::2], noises[::2], noises[1::2], strict=True):
            hidden = first.forward(latent, noise[0]).relu()
            ends.append(last.forward(hidden, noise[1]))
        return self.join(*ends)

    def learn(self, latent: Tensor, noises: Sequence[Noise], others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs [B, A, Z] of latents [B, L] for which to learn, and those of `others` [., L], without a gradient.

        The same as calling the head, written for speed: see `HeadPass`.
        """
        parameters = (parameter for layer in self._layers for parameter in layer.parameters(recurse=False))
        outputs: tuple[Tensor, Tensor] = HeadPass.apply(self, noises, latent, others, *parameters)  # type: ignore[no-untyped-call]
        return outputs

    def weights(self, noises: Sequence[Noise | None]) -> list[Weights]:
        """Weight and bias of the streams' hidden layers, stacked, then of each stream's last layer."""
        of_layer = noises or [None] * len(self._layers)
        stacks = [slice(0, None, 2), *(slice(index, index + 1) for index in range(1, len(self._layers), 2))]
        found = [_stack(self._layers[stack], of_layer[stack]) for stack in stacks]
        return [(weight.to(self.precision), bias.to(self.precision)) for weight, bias in found]

    def join(self, advantage: Tensor, value: Tensor | None = None) -> Tensor:
        """Outputs [B, A, Z] of what the streams' last layers give, [B, A * Z] and [B, Z]."""
        advantage = advantage.view(-1, self.num_actions, self.num_atoms)
        return advantage if value is None else advantage + (value - advantage.mean(dim=1))[:, None]

    def part(self, gradient: Tensor) -> list[Tensor]:
        """Gradients of what `join` joined, [B, A * Z] and [B, Z], given that of the outputs [B, A, Z]."""
        if self.value is None:
            return [gradient.flatten(1)]
        value = gradient.sum(1)
        return [(gradient - value[:, None] / self.num_actions).flatten(1), value]

    def of_parameters(self, gradients: Sequence[Weights], noises: Sequence[Noise | None]) -> list[Tensor]:
        """Gradients of all parameters, given those of each layer's weight and bias, which are also the means'."""
        found: list[Tensor] = []
        for (weight, bias), noise in zip(gradients, noises or [None] * len(gradients), strict=True):
            found += [weight, bias]
            if noise is not None:
                found += [weight * torch.outer(noise.outputs, noise.inputs), bias * noise.outputs]
        return found

    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass on one observation (M in the paper's cost formulas)."""
        return sum(layer.in_features * layer.out_features for layer in self._layers)


def _stack(layers: Sequence[nn.Linear], noises: Sequence[Noise | None]) -> Weights:
    """Weight and bias of layers that read the same, one below the other."""
    if len(layers) == 1 and noises[0] is None:
        return layers[0].weight, layers[0].bias
    sizes = [layer.out_features for layer in layers]
    weight = layers[0].weight.new_empty(sum(sizes), layers[0].in_features)
    bias = layers[0].bias.new_empty(sum(sizes))
    for layer, noise, *rows in zip(layers, noises, weight.split(sizes), bias.split(sizes), strict=True):
        if noise is not None:
            assert isinstance(layer, NoisyLinear)
            layer.write(noise, *rows)
        else:
            rows[0].copy_(layer.weight)
            rows[1].copy_(layer.bias)
    return weight, bias


class HeadPass(torch.autograd.Function):
    """What autograd says of a head's layers, in fewer and larger steps.

    The streams' hidden layers are one product, of the latents to learn for and of the others together; weights are
    passed over once for their noise and once for its gradient, without copies; the others get no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        head: ValueHead,
        noises: Sequence[Noise],
        latent: Tensor,
        others: Tensor | None,
        *_parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (weight, bias), *lasts = weights = head.weights(noises)
        inputs = (latent if others is None else torch.cat([latent, others])).to(head.precision)
        hidden = torch.addmm(bias, inputs, weight.T).relu_()  # [., H of all streams]
        parts = hidden.chunk(len(lasts), 1)
        outputs = [
            torch.addmm(bias, part, weight.T).to(latent.dtype)
            for part, (weight, bias) in zip(parts, lasts, strict=True)
        ]
        now, following = head.join(*outputs).split([len(latent), len(inputs) - len(latent)])
        ctx.head, ctx.noises = head, noises
        ctx.save_for_backward(inputs[: len(latent)], hidden[: len(latent)], *(weight for weight, _ in weights))
        ctx.mark_non_differentiable(following)
        return now, following

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        inputs, hidden, weight, *lasts = ctx.saved_tensors
        head: ValueHead = ctx.head
        ends = [part.to(head.precision) for part in head.part(gradient)]
        middle = torch.cat([end @ last for end, last in zip(ends, lasts, strict=True)], dim=1).mul_(hidden > 0)
        firsts = zip((middle.T @ inputs).chunk(len(ends)), middle.sum(0).chunk(len(ends)), strict=True)
        of_layers: list[Weights] = []
        for first, end, part in zip(firsts, ends, hidden.chunk(len(ends), 1), strict=True):
            of_layers += [first, (end.T @ part, end.sum(0))]
        of_latent = (middle @ weight).to(gradient.dtype) if ctx.needs_input_grad[2] else None
        of_layers = [(weight.to(gradient.dtype), bias.to(gradient.dtype)) for weight, bias in of_layers]
        return None, None, of_latent, None, *head.of_parameters(of_layers, ctx.noises)
