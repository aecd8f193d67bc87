"""Adam, weight by weight, for slow twins of updates."""

from collections.abc import Iterable

import torch
from torch import Tensor

Weights = dict[str, Tensor]


class SlowAdam:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1), weight by weight."""

    def __init__(self, weights: Weights, names: Iterable[str], rate: float, betas: tuple[float, float]) -> None:
        self.weights, self.names, self.rate, self.betas = weights, list(names), rate, betas
        self.first = {name: torch.zeros_like(weights[name]) for name in self.names}
        self.second = {name: torch.zeros_like(weights[name]) for name in self.names}
        self.count = 0

    def step(self, gradients: Weights) -> None:
        self.count += 1
        slow, slower = self.betas
        for name in self.names:
            gradient = gradients[name]
            self.first[name] = slow * self.first[name] + (1 - slow) * gradient
            self.second[name] = slower * self.second[name] + (1 - slower) * gradient**2
            mean = self.first[name] / (1 - slow**self.count)
            spread = (self.second[name] / (1 - slower**self.count)).sqrt()
            self.weights[name] = self.weights[name] - self.rate * mean / (spread + 1e-8)
