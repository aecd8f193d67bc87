"""Count the cost of a step in multiply-adds, as the paper does (SEER, section 5 and appendix).

One multiply-add counts as one FLOP and a backward pass as two forward passes. Only convolutions and matrix
products count; activations, noise, optimisers and rendering do not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seer.core.phase import Phase


@dataclass(frozen=True)
class Passes:
    """Count forward and backward passes per sample and update, F and B in the paper; 0.5 is every second update.

    A backward pass that stops short of the weights, or of the inputs, counts half.
    """

    forwards: float
    backwards: float


NO_PASSES = Passes(0, 0)


@dataclass(frozen=True)
class Part:
    """Describe a part of the networks: multiply-adds of a forward pass on one observation, and its passes by phase.

    Choosing an action passes those that act.
    """

    multiply_adds: int
    passes: Mapping[Phase, Passes]
    acts: bool = True

    def update(self, phase: Phase) -> float:
        """Return the multiply-adds per sample and update: F + 2 B forward passes."""
        passes = self.passes[phase]
        return self.multiply_adds * (passes.forwards + 2 * passes.backwards)


@dataclass(frozen=True)
class Cost:
    """Count the multiply-adds of one agent's passes.

    encoder: the layers that the freeze freezes (E in the paper).
    heads: the layers above it (M, all together).
    batch_size: b, samples per update.
    crops, encoders: K and N, latents stored per observation.
    """

    encoder: Part
    heads: tuple[Part, ...]
    batch_size: int
    crops: int = 1
    encoders: int = 1

    @property
    def above(self) -> int:
        """Return the cost of one forward pass of everything above the cut: M."""
        return sum(head.multiply_adds for head in self.heads)

    @property
    def act(self) -> int:
        """Return the cost of choosing one action: E + M, of which M is the part that acts."""
        return self.encoder.multiply_adds + sum(head.multiply_adds for head in self.heads if head.acts)

    @property
    def store(self) -> int:
        """Return the cost of encoding one new observation for the replay, after the freeze: E K N."""
        return self.encoder.multiply_adds * self.crops * self.encoders

    def update(self, phase: Phase) -> int:
        """Return the cost of one update.

        b F (E + M) + 2 b B (E + M) before the freeze, b F M + 2 b B M from stored latents.

        The paper has one F and one B for the encoder and all heads; here each part has its own.
        """
        return round(self.batch_size * sum(part.update(phase) for part in (self.encoder, *self.heads)))

    def step(self, phase: Phase, *, updates: float = 1) -> int:
        """Return the cost of one training step: the action, `updates` updates in the mean, and latents to store."""
        return self.act + round(updates * self.update(phase)) + (self.store if phase is Phase.LATENTS else 0)

    def freeze(self, rows: int) -> int:
        """Return the cost of encoding `rows` stored observations once, at the freeze: E K N min(T_f, C)."""
        return self.store * rows


class FlopsLedger:
    """Add up the cost of a run, and beside it that of the same run without a freeze (`baseline`)."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self._step = {phase: cost.step(phase, updates=0) for phase in Phase}
        self._update = {phase: cost.update(phase) for phase in Phase}
        self.total = 0
        self.baseline = 0
        self.freeze = 0  # part of `total`: the conversion of the replay
        self.probe = 0  # part of `total`: finding out when to freeze

    def on_step(self, phase: Phase) -> None:
        """Add one environment step: choosing the action and, if latents are stored, encoding the new observation."""
        self.total += self._step[phase]
        self.baseline += self._step[Phase.FRAMES]

    def on_update(self, phase: Phase) -> None:
        """Add one update."""
        self.total += self._update[phase]
        self.baseline += self._update[Phase.FRAMES]

    def on_freeze(self, rows: int) -> None:
        """Add the conversion of `rows` stored observations."""
        self.freeze = self.cost.freeze(rows)
        self.total += self.freeze

    def on_comparison(self, passes: int) -> None:
        """Add forward passes of the encoder that show how much it still changes."""
        self.probe += self.cost.encoder.multiply_adds * passes
        self.total += self.cost.encoder.multiply_adds * passes

    def state_dict(self) -> dict[str, int]:
        """Return the totals, for a checkpoint."""
        return {"total": self.total, "baseline": self.baseline, "freeze": self.freeze, "probe": self.probe}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from `state_dict`."""
        self.total, self.baseline = state["total"], state["baseline"]
        self.freeze, self.probe = state["freeze"], state["probe"]


def cost_of(
    *, encoder: int, head: int, batch_size: int, forwards: float = 2, backwards: float = 1, crops: int = 1
) -> Cost:
    """Return the paper's costs (SEER, section 5) of an encoder and the layers above it, for `FlopsLedger`.

    Args:
        encoder, head: multiply-adds of one forward pass on one observation, E and M: see `count_multiply_adds`.
        batch_size: b, samples per update.
        forwards, backwards: F and B, passes per sample and update. DQN: 2 (the network and its target) and 1.
        crops: K, views of an observation that are stored after the freeze.
    """
    passes = Passes(forwards, backwards)
    frozen = {Phase.LATENTS: NO_PASSES, Phase.FROZEN_FRAMES: Passes(2, 0)}
    return Cost(
        encoder=Part(encoder, {Phase.FRAMES: passes} | frozen),
        heads=(Part(head, dict.fromkeys(Phase, passes)),),
        batch_size=batch_size,
        crops=crops,
    )


@torch.no_grad()
def count_multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Count the multiply-adds of one forward pass on `inputs`: convolutions, matrix products, LSTMs and attention.

    The paper calls each of them one FLOP. Give one sample.
    """
    from torch.utils.flop_counter import FlopCounterMode

    fused = {torch.ops.aten.mkldnn_rnn_layer: _lstm_flops}
    with evaluation_mode(module), FlopCounterMode(display=False, custom_mapping=fused) as counter:
        module(*inputs)
    return int(counter.get_total_flops()) // 2


def _lstm_flops(inputs: torch.Size, of_input: torch.Size, of_hidden: torch.Size, *_: Any, out_shape: Any) -> int:
    """Count a layer of an LSTM as PyTorch counts others, two for a multiply-add; on a CPU it is one call, uncounted.

    Args:
        inputs: shape [steps, samples, inputs].
        of_input, of_hidden: shapes of the weights, through which every step of a sample goes once.
    """
    del out_shape
    return 2 * inputs[0] * inputs[1] * (of_input.numel() + of_hidden.numel())


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while; parts of it may have been there before, and stay."""
    training = [each for each in module.modules() if each.training]
    if training:
        module.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True
