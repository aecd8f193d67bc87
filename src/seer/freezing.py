"""When to freeze the encoder. T_f counts training steps (agent decisions), as the authors' code does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FreezeAt:
    """Freeze at training step `step` (SEER, algorithm 1: t == T_f), or never if it is None."""

    step: int | None

    def due(self, step: int) -> bool:
        """Whether the freeze belongs to training step `step`."""
        return step == self.step
