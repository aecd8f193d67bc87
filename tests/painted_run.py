"""A whole run in small, in this process: Rainbow on the painted environment, by the real loop, journal and files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from painted import Episode, PaintedEnvironment
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeRule
from seer.replay import Arena, Prioritized, Replay, RowFormat
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import Metrics, RunFolder
from seer.runs.terminal import Terminal
from seer.training.drift_monitor import DriftMonitor
from seer.training.evaluation import Evaluator
from seer.training.feature_stability import FeatureStability
from seer.training.journal import Journal
from seer.training.loop import train
from seer.training.state import Schedule, TrainingState
from small_agent import FRAME_SHAPE, STACK, make_agent

STEPS, PROBE_EVERY, CAPACITY = 400, 20, 150
EPISODES = (Episode(5), Episode(7, truncated=True))


def environment() -> PaintedEnvironment:
    """Rewards rise all the time, whatever the agent does."""
    rewards = [number / 100 for number in range(5000)]
    return PaintedEnvironment(episodes=EPISODES, rewards=rewards, frame_shape=FRAME_SHAPE, stack=STACK, num_actions=3)


def make_training(
    freezing: FreezeRule, *, steps: int = STEPS, reset_every: int | None = None, snapshot_every: int | None = None
) -> TrainingState:
    """At its first step."""
    agent, playground = make_agent(num_actions=3), environment()
    replay = Replay(
        arena=Arena(CAPACITY * 900),
        frame=RowFormat(FRAME_SHAPE, torch.uint8),
        stack=STACK,
        action=RowFormat((), torch.int64),
        n_step=2,
        discount=0.5,
        sampler=Prioritized(),
        rng=np.random.default_rng(3),
    )
    schedule = Schedule(
        steps=steps, first_update=30, updates_per_step=1, batch_size=8, importance_exponent=0.4, log_every=50,
        eval_every=steps, eval_episodes=1, checkpoint_every=10**9, probe_every=PROBE_EVERY, reset_every=reset_every,
        snapshot_every=snapshot_every,
    )  # fmt: skip
    playground.reset()
    return TrainingState(
        agent=agent,
        replay=replay,
        environment=playground,
        evaluator=Evaluator([environment()], epsilon=0.0, seed=0),
        freeze_rule=freezing,
        feature_stability=FeatureStability(observations=16, every=PROBE_EVERY),
        drift_monitor=DriftMonitor(observations=16, every=PROBE_EVERY),
        schedule=schedule,
        ledger=FlopsLedger(agent.cost),
        renew=lambda step: make_agent(num_actions=3, seed=step),
    )


class Stopping(Journal):
    """Asks for a stop at a step, as a signal would."""

    stop_at = 0

    def on_step(self, info: dict[str, Any]) -> None:
        super().on_step(info)
        self.stop_requested |= self.run.step == self.stop_at


def finish(make: Callable[[], TrainingState], path: Path, *, stop_at: int = 0) -> tuple[TrainingState, str]:
    """Train to the end, by way of a checkpoint at `stop_at`, if that is one; also what was said."""
    said = io.StringIO()
    terminal = Terminal(Console(file=said, width=1000))
    config = {"env": "painted", "agent": "rainbow", "seed": 0, "freeze": {"at": "auto"}}
    with RunFolder.create(path, config) as folder:
        run = make()
        if stop_at:
            journal = Stopping(run, folder, Metrics(path), terminal)
            journal.stop_at = stop_at
            with journal:
                train(run, journal)
            journal.checkpoint()
            journal.metrics.close()
            run = make()
            state = load_checkpoint(latest_checkpoint(folder.checkpoints))
            run.load_state_dict(state)
        journal = Journal(run, folder, Metrics(path), terminal)
        if stop_at:
            journal.load_state_dict(state["journal"])
        with journal:
            train(run, journal)
        journal.finish()
        journal.metrics.close()
    return run, said.getvalue()
