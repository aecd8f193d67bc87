"""Cheap checks that are always on, so that a fault stops the run before a checkpoint keeps it.

At every step: the losses are numbers; phase, replay and agent agree. At every log and checkpoint: the frozen part is
bit for bit as at the freeze, and every weight is a number.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seer.core.frozen_weights import weights_digest
from seer.core.phase import Phase
from seer.errors import LearningError

if TYPE_CHECKING:
    from seer.training.state import TrainingState


class Invariants:
    """Check one run; `state_dict` belongs in its checkpoints.

    Attributes:
        losses: metrics of the newest update that was checked, as numbers.
    """

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}
        self._unchecked: list[tuple[int, Mapping[str, Tensor]]] = []
        self._frozen: str | None = None  # digest of the frozen part, once there is one

    def on_update(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        """Keep an update's metrics (0-d tensors) for `check_losses`, which waits until they have been computed."""
        self._unchecked.append((step, metrics))

    def check_losses(self) -> None:
        """Wait for the metrics of all updates since the last call; LearningError where one is nan or infinite."""
        unchecked, self._unchecked = self._unchecked, []
        for step, metrics in unchecked:
            self.losses = {name: float(value) for name, value in metrics.items()}
            bad = [f"{name} is {value}" for name, value in self.losses.items() if not math.isfinite(value)]
            if bad:
                remedy = "begin anew with a lower --learning-rate or --precision float32"
                raise LearningError(f"in the update of step {step:,} {', '.join(bad)}; {remedy}")

    def check_agreement(self, run: "TrainingState") -> None:
        """Check that phase, replay and agent agree; LearningError where they don't."""
        phase, row, holds_latents = run.agent.phase, run.replay.row, run.replay.holds_latents
        if holds_latents != (phase is Phase.LATENTS):
            held = "latents" if holds_latents else "frames"
            raise LearningError(f"the agent's phase is {phase} but the replay holds {held}: a fault of seer")
        if holds_latents and row != run.agent.latent:
            raise LearningError(f"the replay's rows are {row}, the agent's {run.agent.latent}: a fault of seer")
        if (run.frozen_at is None) != (phase is Phase.FRAMES):
            raise LearningError(f"the agent's phase is {phase} but the freeze was at {run.frozen_at}: a fault of seer")

    def on_freeze(self, run: "TrainingState") -> None:
        """Remember the frozen part as it is now."""
        self._frozen = digest_of_frozen(run)

    def check_weights(self, run: "TrainingState") -> None:
        """Check that the frozen part is as it was at the freeze and can't learn, and that every weight is a number."""
        for name, module in run.agent.modules().items():
            for key, weight in module.named_parameters():
                if not torch.isfinite(weight).all():
                    raise LearningError(
                        f"the weights {name}.{key} are nan or infinite; begin anew with a lower --learning-rate"
                    )
        if self._frozen is None:
            return
        encoders = run.agent.online.encoder, run.agent.target.encoder
        learns = any(weight.requires_grad for encoder in encoders for weight in encoder.base_parameters())
        if learns or "encoder" in run.agent.optimizers:
            raise LearningError("the frozen part of the encoder can learn: a fault of seer")
        if digest_of_frozen(run) != self._frozen:
            raise LearningError("the frozen part of the encoder isn't what it was at the freeze: a fault of seer")

    def check_all(self, run: "TrainingState") -> None:
        """Check everything; called before a checkpoint, which must hold no fault."""
        self.check_losses()
        self.check_agreement(run)
        self.check_weights(run)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {"frozen": self._frozen, "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._frozen, self.losses = state["frozen"], dict(state.get("losses", {}))  # older checkpoints have no losses


def digest_of_frozen(run: "TrainingState") -> str:
    """Return the SHA-256 of the bytes of both networks' frozen layers, in the order of their names."""
    stages = [*run.agent.online.encoder.base, *run.agent.target.encoder.base]
    return weights_digest(item for stage in stages for item in sorted(stage.state_dict().items()))
