"""Fully connected layers that can compute in less than float32."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input; the parameters stay float32."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, out_features], in the dtype of the inputs [B, in_features]."""
        return F.linear(inputs, self.weight.to(inputs.dtype), self.bias.to(inputs.dtype))


class OfLinearLayers(nn.Module):
    """A module whose work is that of the linear layers in it."""

    def multiply_adds(self) -> int:
        """Return the cost of one forward pass on one observation (M in the paper's cost formulas)."""
        return sum(layer.weight.numel() for layer in self.modules() if isinstance(layer, nn.Linear))


class Perceptron(nn.Sequential):
    """Two hidden layers with ReLU: inputs [B, inputs] -> outputs [B, outputs], both in the dtype of its parameters.

    `precision` is that of the matrix between the hidden layers, which is nearly all the work.
    """

    def __init__(self, inputs: int, hidden_units: int, outputs: int, *, precision: torch.dtype) -> None:
        super().__init__(
            nn.Linear(inputs, hidden_units),
            nn.ReLU(),
            Linear(hidden_units, hidden_units),
            nn.ReLU(),
            nn.Linear(hidden_units, outputs),
        )
        self.precision = precision

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, outputs] of inputs [B, inputs]."""
        first, rectify, middle, rectify_again, last = self
        hidden = rectify(first(inputs)).to(self.precision)
        outputs: Tensor = last(rectify_again(middle(hidden)).to(inputs.dtype))
        return outputs
