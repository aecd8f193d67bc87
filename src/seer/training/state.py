"""The state of a run: its parts and its position, which the loop changes and checkpoints keep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from seer.agents.agent import Agent
from seer.config import Config
from seer.core.feature_stability import FeatureStability
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeRule
from seer.core.phase import Phase
from seer.envs.base import PixelEnvironment
from seer.envs.vector import EnvironmentProcess
from seer.networks.own_module import own_module
from seer.replay import MultiEnvReplay, Replay
from seer.training.drift_monitor import DriftMonitor
from seer.training.evaluation import Evaluator
from seer.training.invariants import Invariants
from seer.training.return_support import ReturnSupport


class Stage(StrEnum):
    """Name the part of a training step that comes next; a checkpoint can be taken before each."""

    ACT = "act"
    LEARN = "learn"  # with the freeze before it
    EVALUATE = "evaluate"


@dataclass
class TrainingState:
    """Hold the parts of a run and its position; an episode of `environment` is under way.

    Attributes:
        config: the settings of the run.
        renew: makes an agent whose weights depend on the run's seed and the given step alone, for resets.
        budget: bytes of memory that the process may take.
        frozen_at: step of the freeze, once it has happened.
        replay_from: step after which the replay was last empty: 0, or where a finished run was prolonged without it.
        lost_episode: whether the environment couldn't be restored from the checkpoint, so that its episode was cut.
        others: environments that act together with `environment`; the replay has a part for each of them too.
        return_support: checks the returns of an agent whose values are distributions.
    """

    config: Config
    agent: Agent[Any]
    replay: Replay | MultiEnvReplay
    environment: PixelEnvironment
    evaluator: Evaluator
    freeze_rule: FreezeRule
    feature_stability: FeatureStability
    drift_monitor: DriftMonitor
    ledger: FlopsLedger
    renew: Callable[[int], Agent[Any]]
    budget: int | None = None
    step: int = 0
    stage: Stage = Stage.ACT
    frozen_at: int | None = None
    replay_from: int = 0
    invariants: Invariants = field(default_factory=Invariants)
    lost_episode: bool = False
    others: Sequence[EnvironmentProcess] = ()
    return_support: ReturnSupport | None = None

    @property
    def environments(self) -> tuple[PixelEnvironment | EnvironmentProcess, ...]:
        """Return all environments that act together, in the order of the replay's parts."""
        return (self.environment, *self.others)

    @property
    def finished(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.step >= self.config.steps and self.stage is Stage.ACT

    def updates_at(self, step: int) -> int:
        """Return how many updates a step makes."""
        learning = self.config.learning
        is_due = step - self.replay_from >= self.config.first_update and step % learning.update_every == 0
        return learning.updates_per_step if is_due else 0

    @property
    def schedules_end(self) -> int:
        """Return the step from which on nothing changes any more, also where a run is longer than it was planned."""
        return self.config.planned_steps or self.config.steps

    @property
    def importance_exponent(self) -> float:
        """Return the exponent of the importance weights: linear from its first value to 1 (Schaul 2016)."""
        first, end = self.config.replay.importance_exponent, self.schedules_end
        return first + (1 - first) * min(self.step, end) / end

    @property
    def learning_rate_share(self) -> float:
        """Return the share of the learning rates: linear from 1 to its last value."""
        end = self.schedules_end
        return 1 - (1 - self.config.learning.learning_rate_final_share) * min(self.step, end) / end

    @property
    def phase_after_freeze(self) -> Phase:
        """Return the phase that the freeze leads to, or has led to."""
        if self.agent.phase is not Phase.FRAMES:
            return self.agent.phase
        return Phase.after_freeze(frame_bytes=self.replay.row.num_bytes, latent_bytes=self.agent.latent.num_bytes)

    def close(self) -> None:
        """End the environments' processes."""
        for other in self.others:
            other.close()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return all that a checkpoint needs to continue exactly.

        The names in it stay, so that runs of older versions can be resumed.
        """
        return {
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "environment": {
                "first": self.environment.state_dict(),
                "others": [each.state_dict() for each in self.others],
            }
            if self.others
            else self.environment.state_dict(),
            "freezing": {
                "decision": self.freeze_rule.state_dict(),
                "probe": self.feature_stability.state_dict(),
                "guards": self.drift_monitor.state_dict(),
            },
            "progress": {
                "step": self.step,
                "stage": str(self.stage),
                "frozen_at": self.frozen_at,
                "replay_from": self.replay_from,
                "flops": self.ledger.state_dict(),
                "watch": self.invariants.state_dict(),
                "returns": None if self.return_support is None else self.return_support.state_dict(),
                **self._shared_randomness(),
            },
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue from `state_dict`."""
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        returns = state["progress"].get("returns")  # older checkpoints have none
        if self.return_support is not None and returns:
            self.return_support.load_state_dict(returns)
        first, others = state["environment"], []
        if self.others:
            first, others = first["first"], first["others"]
        for number, saved in zip(range(len(self.environments)), [first, *others], strict=True):
            self._restore_environment(number, saved)
        freezing = state["freezing"]
        self.freeze_rule.load_state_dict(freezing["decision"])
        self.feature_stability.load_state_dict(freezing["probe"], self.agent.online.encoder)
        self.drift_monitor.load_state_dict(freezing["guards"], self.agent.device)
        progress = state["progress"]
        self.step, self.frozen_at = progress["step"], progress["frozen_at"]
        self.replay_from = progress.get("replay_from", 0)  # older checkpoints have none
        self.stage = Stage(progress["stage"])
        if not 0 <= self.step <= self.config.steps:
            raise ValueError(f"step {self.step} is none of {self.config.steps}")
        self.ledger.load_state_dict(progress["flops"])
        self.invariants.load_state_dict(progress["watch"])
        if "torch" in progress:
            torch.set_rng_state(progress["torch"])
        if "torch_gpu" in progress and self.agent.device.type == "cuda":
            torch.cuda.set_rng_state(progress["torch_gpu"], self.agent.device)
        self.invariants.check_all(self)

    def _restore_environment(self, number: int, saved: dict[str, Any]) -> None:
        """Bring an environment back; where that can't be done, close its episode and begin another."""
        environment, replay = self.environments[number], self.replay.replays[number]
        environment.load_state_dict(saved)
        if environment.is_lost:
            self.lost_episode = True
            if replay.is_open:
                replay.close(self.agent.row(environment.observe()))
            self.begin_episode(number)

    def begin_episode(self, number: int) -> None:
        """Give up the episode of an environment, and begin another."""
        self.environments[number].restart()
        if self.return_support is not None:
            self.return_support.give_up(number)

    def _shared_randomness(self) -> dict[str, Tensor]:
        """Return the state of PyTorch's own generators, from which the dropout of a module of the user's own draws."""
        if own_module(self.agent.online.encoder.stages) is None:
            return {}
        device = self.agent.device
        gpu = {"torch_gpu": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
        return {"torch": torch.get_rng_state(), **gpu}
