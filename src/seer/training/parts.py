"""The made parts of a run, which the loop puts to work, and the schedule it follows."""

from dataclasses import dataclass
from typing import Any

from seer.agents.agent import Agent
from seer.environments import PixelEnvironment
from seer.flops import FlopsLedger
from seer.freezing import FreezeAt
from seer.phase import Phase
from seer.replay import Replay
from seer.training.evaluation import Evaluator


@dataclass(frozen=True)
class Schedule:
    """When things happen, in training steps."""

    steps: int
    first_update: int
    updates_per_step: int
    batch_size: int
    importance_exponent: float
    log_every: int
    eval_every: int
    eval_episodes: int
    checkpoint_every: int

    def importance_exponent_at(self, step: int) -> float:
        """Exponent of the importance weights: linear from its first value to 1 at the last step (Schaul 2016)."""
        return self.importance_exponent + (1 - self.importance_exponent) * step / self.steps


@dataclass
class Training:
    """The made parts of a run and where it stands; an episode of `environment` is under way."""

    agent: Agent[Any]
    replay: Replay
    environment: PixelEnvironment
    evaluator: Evaluator
    freezing: FreezeAt
    schedule: Schedule
    ledger: FlopsLedger
    step: int = 0
    frozen_at: int | None = None

    @property
    def phase_after_freeze(self) -> Phase:
        """What the freeze leads to, or has led to."""
        if self.agent.phase is not Phase.FRAMES:
            return self.agent.phase
        return Phase.after_freeze(frame_bytes=self.replay.row.num_bytes, latent_bytes=self.agent.latent.num_bytes)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Named parts of a checkpoint: everything needed to continue exactly."""
        return {
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "environment": self.environment.state_dict(),
            "progress": {
                "step": self.step,
                "frozen_at": self.frozen_at,
                "flops": self.ledger.state_dict(),
            },
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue from `state_dict`."""
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        self.environment.load_state_dict(state["environment"])
        progress = state["progress"]
        self.step, self.frozen_at = progress["step"], progress["frozen_at"]
        self.ledger.load_state_dict(progress["flops"])
