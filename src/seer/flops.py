"""The paper's cost accounting (SEER, section 5 and appendix): what a step costs in multiply-adds.

One multiply-add counts as one FLOP and a backward pass as two forward passes. Only convolutions and matrix
products count; activations, noise, optimisers and rendering do not.
"""

from dataclasses import dataclass

from seer.phase import Phase


@dataclass(frozen=True)
class Cost:
    """What one agent's passes cost, in multiply-adds.

    encoder: E, one forward pass of the encoder on one observation.
    heads: M, one forward pass of all layers above it.
    batch_size: b, samples per update.
    forwards, backwards: F and B, forward and backward passes per update (stated beside each agent's update).
    crops, encoders: K and N, latents stored per observation.
    """

    encoder: int
    heads: int
    batch_size: int
    forwards: int
    backwards: int
    crops: int = 1
    encoders: int = 1

    @property
    def act(self) -> int:
        """Choosing one action: E + M."""
        return self.encoder + self.heads

    @property
    def store(self) -> int:
        """Encoding one new observation for the replay, after the freeze: E K N."""
        return self.encoder * self.crops * self.encoders

    def update(self, phase: Phase) -> int:
        """One update: b F (E + M) + 2 b B (E + M) before the freeze, b F M + 2 b B M from stored latents.

        With a frozen encoder over stored frames, which the paper leaves out: b F (E + M) + 2 b B M.
        """
        forward = self.heads if phase is Phase.LATENTS else self.encoder + self.heads
        backward = self.encoder + self.heads if phase is Phase.FRAMES else self.heads
        return self.batch_size * (self.forwards * forward + 2 * self.backwards * backward)

    def step(self, phase: Phase, *, updates: int = 1) -> int:
        """One training step: the action, `updates` updates, and the new latents if those are stored."""
        return self.act + updates * self.update(phase) + (self.store if phase is Phase.LATENTS else 0)

    def freeze(self, rows: int) -> int:
        """Encoding `rows` stored observations once, at the freeze: E K N min(T_f, C)."""
        return self.store * rows


class FlopsLedger:
    """Running totals of a run, beside what the same run would have cost without a freeze."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self.total = 0
        self.baseline = 0
        self.freeze = 0  # part of `total`: the conversion of the replay

    def acted(self, phase: Phase) -> None:
        """One environment step: choosing the action and, if latents are stored, encoding the new observation."""
        self.total += self.cost.step(phase, updates=0)
        self.baseline += self.cost.step(Phase.FRAMES, updates=0)

    def updated(self, phase: Phase) -> None:
        """One update."""
        self.total += self.cost.update(phase)
        self.baseline += self.cost.update(Phase.FRAMES)

    def froze(self, rows: int) -> None:
        """The conversion of `rows` stored observations."""
        self.freeze = self.cost.freeze(rows)
        self.total += self.freeze

    def state_dict(self) -> dict[str, int]:
        """The totals, for a checkpoint."""
        return {"total": self.total, "baseline": self.baseline, "freeze": self.freeze}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from `state_dict`."""
        self.total, self.baseline, self.freeze = state["total"], state["baseline"], state["freeze"]
