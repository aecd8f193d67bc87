"""A whole run in small, in this process: Rainbow on the painted environment, by the real loop, logger and files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from painted import Episode, PaintedEnvironment
from seer.agents.settings import LearningConfig
from seer.config import Config, FreezeConfig, ReplayConfig
from seer.core.feature_stability import FeatureStability
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeRule
from seer.replay import MemoryBlock, Prioritized, Replay, RowFormat
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import RunFolder
from seer.runs.logger import run_logger
from seer.runs.terminal import Terminal
from seer.signals import StopSignal
from seer.training.drift_monitor import DriftMonitor
from seer.training.evaluation import Evaluator
from seer.training.events import Events
from seer.training.loop import train
from seer.training.saving import EVENTS, Checkpointer
from seer.training.state import TrainingState
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
        memory=MemoryBlock(CAPACITY * 900),
        frame=RowFormat(FRAME_SHAPE, torch.uint8),
        stack=STACK,
        action=RowFormat((), torch.int64),
        n_step=2,
        discount=0.5,
        sampler=Prioritized(),
        rng=np.random.default_rng(3),
    )
    config = Config(
        env="painted", steps=steps, log_every=50, eval_every=steps, eval_episodes=1, checkpoint_every=10**9,
        snapshot_every=snapshot_every, replay=ReplayConfig(n_step=2), freeze=FreezeConfig(probe_every=PROBE_EVERY),
        learning=LearningConfig(first_update=30, batch_size=8, reset_heads_every=reset_every),
    )  # fmt: skip
    playground.reset()
    return TrainingState(
        config=config,
        agent=agent,
        replay=replay,
        environment=playground,
        evaluator=Evaluator([environment()], epsilon=0.0, seed=0),
        freeze_rule=freezing,
        feature_stability=FeatureStability(observations=16, every=PROBE_EVERY),
        drift_monitor=DriftMonitor(observations=16, every=PROBE_EVERY),
        ledger=FlopsLedger(agent.cost),
        renew=lambda step: make_agent(num_actions=3, seed=step),
    )


class Stopping(Events):
    """Asks for a stop at a step, as a signal would."""

    stop_at: int
    stop: StopSignal

    def on_step(self, info: dict[str, Any]) -> None:
        super().on_step(info)
        self.stop.requested |= self.run.step == self.stop_at


def finish(make: Callable[[], TrainingState], path: Path, *, stop_at: int = 0) -> tuple[TrainingState, str]:
    """Train to the end, by way of a checkpoint at `stop_at`, if that is one; also what was said."""
    said = io.StringIO()
    terminal = Terminal(Console(file=said, width=1000))
    config = {"env": "painted", "agent": "rainbow", "seed": 0, "freeze": {"at": "auto"}}
    with RunFolder.create(path, config) as folder:
        run, state = make(), None
        if stop_at:
            with run_logger(folder, terminal) as logger:
                stopping = Stopping(run, folder, logger)
                stopping.stop_at, stopping.stop = stop_at, StopSignal(logger.say)
                checkpointer = Checkpointer(run, folder, stopping)
                train(run, stopping, checkpointer, stopping.stop)
                checkpointer.save()
            run = make()
            checkpoint = load_checkpoint(latest_checkpoint(folder.checkpoints))
            run.load_state_dict(checkpoint)
            state = checkpoint[EVENTS]
        with run_logger(folder, terminal, None if state is None else state["metrics"]) as logger:
            events = Events(run, folder, logger)
            if state is not None:
                events.load_state_dict(state)
            checkpointer = Checkpointer(run, folder, events)
            train(run, events, checkpointer, StopSignal(logger.say))
            checkpointer.finish(events.summary())
    return run, said.getvalue()
