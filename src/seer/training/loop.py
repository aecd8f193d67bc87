"""The training loop: SEER's algorithm 1, for any agent and any environment."""

import time
from typing import Any

from seer.agents.agent import Update
from seer.phase import Phase
from seer.training.evaluation import Evaluation
from seer.training.guards import judge
from seer.training.journal import Journal
from seer.training.parts import Training

JUDGED = 64
"""Newest observations whose values and actions before and after the freeze are compared."""


def train(run: Training, journal: Journal) -> None:
    """Train to the last step of the schedule, or until the journal is asked to stop (SEER, algorithm 1)."""
    schedule = run.schedule
    freeze_if_due(run, journal)  # before the first step, where the encoder is another run's
    while run.step < schedule.steps and not journal.stop_requested:
        if is_due(schedule.snapshot_every, run.step):
            journal.snapshot()
        run.step += 1
        journal.acted(collect(run))
        probe_if_due(run, journal)
        freeze_if_due(run, journal)
        reset_if_due(run, journal)
        if run.step >= schedule.first_update:
            for _ in range(schedule.updates_per_step):
                journal.updated(learn(run))
        if run.step % schedule.log_every == 0:
            journal.log()
        if run.step % schedule.eval_every == 0 or run.step == schedule.steps:
            with journal.paused():
                journal.evaluated(evaluate(run, journal))
        if run.step % schedule.checkpoint_every == 0 and run.step < schedule.steps:
            with journal.paused():
                journal.checkpoint()


def collect(run: Training) -> dict[str, Any]:
    """One environment step into the replay; returns the environment's info.

    The picture that the next action answers may still be drawn when this returns: an update goes on meanwhile.
    """
    environment, agent = run.environment, run.agent
    action, row = agent.decide(environment.observe())
    reward, terminated, truncated, info = environment.advance(action)
    cut = truncated and not terminated
    final_row = agent.row(environment.observe()) if cut else None
    run.replay.append(row, action, reward, terminated=terminated, truncated=cut, final_row=final_row)
    if terminated or truncated:
        info = environment.restart() | info  # a life's first step can end the game
    if "episode" in info:
        run.freezing.scored(info["episode"]["return"])
    run.ledger.acted(agent.phase)
    return info


def learn(run: Training) -> Update:
    """One update from one minibatch, and its new priorities."""
    exponent = run.schedule.importance_exponent_at(run.step)
    batch = run.replay.sample(run.schedule.batch_size, importance_exponent=exponent)
    update = run.agent.update(batch)
    if update.priority is not None:
        run.replay.update_priorities(batch.index, update.priority.cpu().numpy())
    run.ledger.updated(run.agent.phase)
    return update


def evaluate(run: Training, journal: Journal) -> Evaluation:
    """Whole games without exploration."""
    episodes = run.schedule.eval_episodes
    return run.evaluator(run.agent, episodes=episodes, step=run.step, progress=journal.evaluating)


def probe_if_due(run: Training, journal: Journal) -> None:
    """Before the freeze: how much the features still change, where that decides it. After it: whether it holds good."""
    if not is_due(run.schedule.probe_every, run.step):
        return
    if run.agent.phase is not Phase.FRAMES:
        figures = run.guards.measure(run.agent, run.replay)
        if figures is not None:
            journal.guarded(figures, run.guards.warnings(figures))
    elif run.freezing.compares:
        started = time.perf_counter()
        similarity = run.probe.compare(run.agent, run.replay)
        if similarity is not None:
            run.ledger.probed(2 * similarity.observations)
            run.freezing.compared(run.step, similarity.svcca)
            journal.compared(similarity, seconds=time.perf_counter() - started)


def reset_if_due(run: Training, journal: Journal) -> None:
    """Fresh weights for the heads."""
    if is_due(run.schedule.reset_every, run.step):
        run.agent.reset(run.renew(run.step), encoder=run.schedule.reset_encoder)
        journal.reset()


def freeze_if_due(run: Training, journal: Journal) -> None:
    """The freeze, at its step."""
    if run.freeze_is_due:
        with journal.paused():
            freeze(run, journal)


def freeze(run: Training, journal: Journal) -> None:
    """Freeze the encoder and turn the replay into latents, or keep its frames where latents would be larger."""
    journal.freezing()
    agent, replay = run.agent, run.replay
    frames = replay.read(replay.recent(JUDGED, span=run.guards.every))
    before = judge(agent, frames)
    agent.freeze(run.phase_after_freeze)
    transcoding = replay.transcode(agent.encode, agent.latent, progress=journal.converting)
    if transcoding.converted:
        run.ledger.froze(min(run.step, transcoding.capacity_before) + transcoding.fitted)
    run.frozen_at = run.step
    run.probe.stop()
    run.guards.measure(agent, replay)
    journal.froze(transcoding, before.changes_to(judge(agent, frames)))


def is_due(every: int | None, step: int) -> bool:
    """Whether something that happens every so many steps, or never, happens at this one."""
    return every is not None and step % every == 0
