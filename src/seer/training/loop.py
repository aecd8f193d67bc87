"""The training loop: SEER's algorithm 1, for any agent and any environment."""

import time
from typing import Any

from seer.agents.agent import Update
from seer.core.phase import Phase
from seer.envs import play
from seer.training.drift_monitor import judge
from seer.training.evaluation import Evaluation
from seer.training.journal import Journal
from seer.training.state import Stage, TrainingState

JUDGED = 64
"""Newest observations whose values and actions before and after the freeze are compared."""


def train(run: TrainingState, journal: Journal) -> None:
    """Train to the last step of the schedule, or until the journal is asked to stop (SEER, algorithm 1).

    Asked to stop in an evaluation, it gives that up: going on, the run begins with it.

    Raises:
        Interrupted: asked to stop in the conversion, of which half would be no use; the checkpoint before it is.
        RunError: the run can't go on.
    """
    freeze_if_due(run, journal)  # before the first step, where the encoder is another run's
    while not run.finished and not journal.stop_requested:
        advance(run, journal)


def advance(run: TrainingState, journal: Journal) -> None:
    """One training step, or what is left of it."""
    if run.stage is Stage.ACT:
        if is_due(run.schedule.snapshot_every, run.step):
            journal.snapshot()
        run.step += 1
        if is_due(len(run.environments), run.step):
            for info in collect(run):
                journal.on_step(info)
            warn_of_returns(run, journal)
        run.invariants.check_losses()
        probe_if_due(run, journal)
        run.stage = Stage.LEARN
    if run.stage is Stage.LEARN:
        if run.freeze_is_due and journal.stop_requested:
            return
        freeze_if_due(run, journal)
        learn_if_due(run, journal)
        run.stage = Stage.EVALUATE
    conclude(run, journal)


def conclude(run: TrainingState, journal: Journal) -> None:
    """Evaluation, fresh heads and checkpoint, at their steps. The agent that the run leaves has learnt heads."""
    schedule = run.schedule
    last = run.step == schedule.steps
    if last or is_due(schedule.eval_every, run.step):
        with journal.paused():
            evaluation = evaluate(run, journal)
            if evaluation is None:
                return
            journal.on_evaluation(evaluation)
    if not last:
        reset_if_due(run, journal)
    run.stage = Stage.ACT
    if is_due(schedule.checkpoint_every, run.step) and not last:
        with journal.paused():
            journal.checkpoint()


def learn_if_due(run: TrainingState, journal: Journal) -> None:
    """The updates of a step, and the record of the last ones."""
    if run.step >= run.schedule.first_update:
        for _ in range(run.schedule.updates_per_step):
            journal.on_update(learn(run))
    run.invariants.check_agreement(run)
    if is_due(run.schedule.log_every, run.step):
        run.invariants.check_weights(run)
        journal.log()


def collect(run: TrainingState) -> list[dict[str, Any]]:
    """One step of every environment into the replay; returns the environments' infos.

    The picture that the next action answers may still be drawn when this returns: an update goes on meanwhile.
    """
    agent = run.agent
    decisions = [agent.decide(environment.observe()) for environment in run.environments]
    for other, (action, _) in zip(run.others, decisions[1:], strict=True):
        other.send(action)
    outcomes = [play(run.environment, decisions[0][0]), *(other.receive() for other in run.others)]
    for replay, (action, row), outcome in zip(run.replay.replays, decisions, outcomes, strict=True):
        final_row = None if outcome.final is None else agent.row(outcome.final)
        replay.append(
            row,
            action,
            outcome.reward,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            final_row=final_row,
        )
        if "episode" in outcome.info:
            run.freeze_rule.scored(outcome.info["episode"]["return"])
        run.ledger.on_step(agent.phase)
    if run.return_support is not None:
        for number, outcome in enumerate(outcomes):
            run.return_support.add(number, outcome.reward, over=outcome.terminated or outcome.truncated)
    return [outcome.info for outcome in outcomes]


def warn_of_returns(run: TrainingState, journal: Journal) -> None:
    """Say once that the returns leave what the agent's values can be."""
    line = None if run.return_support is None else run.return_support.warning()
    if line is not None:
        journal.warn(line)


def learn(run: TrainingState) -> Update:
    """One update from one minibatch, and its new priorities."""
    exponent = run.schedule.importance_exponent_at(run.step)
    batch = run.replay.sample(run.schedule.batch_size, importance_exponent=exponent)
    update = run.agent.update(batch)
    run.invariants.on_update(run.step, update.metrics)
    if update.priority is not None:
        priority = update.priority.cpu().numpy()
        run.invariants.check_losses()  # computed by now, as the priorities are; other agents' wait for the next step
        run.replay.update_priorities(batch.index, priority)
    run.ledger.on_update(run.agent.phase)
    return update


def evaluate(run: TrainingState, journal: Journal) -> Evaluation | None:
    """Whole games without exploration; None where the journal is asked to stop meanwhile."""
    return run.evaluator(
        run.agent,
        episodes=run.schedule.eval_episodes,
        step=run.step,
        progress=journal.on_evaluation_progress,
        given_up=lambda: journal.stop_requested,
    )


def probe_if_due(run: TrainingState, journal: Journal) -> None:
    """Before the freeze: how much the features still change, where that decides it. After it: whether it holds good."""
    if not is_due(run.schedule.probe_every, run.step):
        return
    if run.agent.phase is not Phase.FRAMES:
        figures = run.drift_monitor.measure(run.agent, run.replay)
        if figures is not None:
            journal.on_drift(figures, run.drift_monitor.warnings(figures))
    elif run.freeze_rule.compares:
        started = time.perf_counter()
        similarity = run.feature_stability.compare(run.agent, run.replay)
        if similarity is not None:
            run.ledger.on_comparison(2 * similarity.observations)
            run.freeze_rule.compared(run.step, similarity.cka)
            journal.on_comparison(similarity, seconds=time.perf_counter() - started)


def reset_if_due(run: TrainingState, journal: Journal) -> None:
    """Fresh weights for the heads."""
    if is_due(run.schedule.reset_every, run.step):
        run.agent.reset(run.renew(run.step), encoder=run.schedule.reset_encoder)
        journal.on_reset()


def freeze_if_due(run: TrainingState, journal: Journal) -> None:
    """The freeze, at its step; behind a checkpoint, as a conversion that was cut off can't be undone."""
    if run.freeze_is_due:
        with journal.paused():
            if run.replay.size:
                journal.checkpoint()
            freeze(run, journal)


def freeze(run: TrainingState, journal: Journal) -> None:
    """Freeze the encoder and turn the replay into latents, or keep its frames where latents would be larger."""
    journal.on_freeze_start()
    agent, replay = run.agent, run.replay
    frames = replay.read(replay.recent(JUDGED, span=run.drift_monitor.every))
    before = judge(agent, frames)
    transcoding = agent.freeze_and_transcode(replay, progress=journal.on_conversion_progress)
    if transcoding.converted:
        run.ledger.on_freeze(min(run.step, transcoding.capacity_before) + transcoding.fitted)
    run.frozen_at = run.step
    run.invariants.on_freeze(run)
    run.feature_stability.stop()
    run.drift_monitor.measure(agent, replay)
    journal.on_freeze(transcoding, before.changes_to(judge(agent, frames)))


def is_due(every: int | None, step: int) -> bool:
    """Whether something that happens every so many steps, or never, happens at this one."""
    return every is not None and step % every == 0
