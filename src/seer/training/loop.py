"""The training loop: SEER's algorithm 1, for any agent and any environment."""

import time
from functools import partial
from typing import Any

from seer.agents.agent import Update
from seer.core.feature_stability import Similarity
from seer.core.freeze_rules import StepMetrics
from seer.core.phase import Phase
from seer.envs.vector import play
from seer.signals import Interrupted, StopSignal
from seer.training.events import Events
from seer.training.saving import Checkpointer
from seer.training.state import Stage, TrainingState


def train(run: TrainingState, events: Events, checkpointer: Checkpointer, stop: StopSignal) -> None:
    """Train to the last step, or until it is asked to stop (SEER, algorithm 1).

    A request to stop ends an evaluation without a result; a resumed run begins with that evaluation.

    Raises:
        Interrupted: asked to stop within the conversion; the run goes on from the checkpoint before it.
        RunError: the run can't go on.
    """
    events.stopwatch.start()
    freeze_if_due(run, events, checkpointer, stop)  # before the first step, where the encoder is another run's
    while not run.finished and not stop.requested:
        advance(run, events, checkpointer, stop)


def advance(run: TrainingState, events: Events, checkpointer: Checkpointer, stop: StopSignal) -> None:
    """Take one training step, or the rest of one: act, freeze, learn, evaluate."""
    if run.stage is Stage.ACT:
        snapshot_if_due(run, checkpointer)
        run.step += 1
        returns = act_if_due(run, events)
        run.invariants.check_losses()
        if run.agent.phase is Phase.FRAMES:
            tell_freeze_rule(run, events, returns)
        else:
            measure_drift_if_due(run, events)
        run.stage = Stage.LEARN
    if run.stage is Stage.LEARN:
        if not freeze_if_due(run, events, checkpointer, stop):
            return
        learn_if_due(run, events)
        run.stage = Stage.EVALUATE
    if not evaluate_if_due(run, events, stop):
        return
    reset_if_due(run, events)
    run.stage = Stage.ACT
    checkpoint_if_due(run, events, checkpointer)


# Acting ----------------------------------------------------------------------------------------------------


def act_if_due(run: TrainingState, events: Events) -> list[float]:
    """Act in all N environments at every N-th step; return the scores of the episodes that ended."""
    if not is_due(1 + len(run.others), run.step):
        return []
    infos = collect(run)
    for info in infos:
        events.on_step(info)
    return [info["episode"]["return"] for info in infos if "episode" in info]


def collect(run: TrainingState) -> list[dict[str, Any]]:
    """Put one step of every environment into the replay; return the environments' infos.

    The picture that the next action answers may still be drawn when this returns: an update goes on meanwhile.
    """
    agent = run.agent
    decisions = [agent.explore(environment.observe()) for environment in run.environments]
    for other, (action, _) in zip(run.others, decisions[1:], strict=True):
        other.send(action)
    outcomes = [play(run.environment, decisions[0][0]), *(other.receive() for other in run.others)]
    for number, (replay, (action, row), outcome) in enumerate(
        zip(run.replay.replays, decisions, outcomes, strict=True)
    ):
        final_row = None if outcome.final is None else agent.row(outcome.final)
        replay.append(
            row,
            action,
            outcome.reward,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            final_row=final_row,
        )
        run.ledger.on_step(agent.phase)
        if run.return_support is not None:
            run.return_support.add(number, outcome.reward, over=outcome.terminated or outcome.truncated)
    return [outcome.info for outcome in outcomes]


# Freezing --------------------------------------------------------------------------------------------------


def tell_freeze_rule(run: TrainingState, events: Events, returns: list[float]) -> None:
    """Tell the freeze rule this step's metrics, `returns` of episodes that ended among them."""
    started = time.perf_counter()
    similarity = compare_features_if_due(run)
    run.freeze_rule.on_step(
        StepMetrics(
            step=run.step,
            updates=run.agent.updates,
            episode_returns=returns,
            losses=run.invariants.losses,
            cka=None if similarity is None else similarity.cka,
            svcca=None if similarity is None else similarity.svcca,
        )
    )
    if similarity is not None:
        events.on_comparison(similarity, seconds=time.perf_counter() - started)


def compare_features_if_due(run: TrainingState) -> Similarity | None:
    """Return how much the features have changed since the last comparison, where the freeze rule asks for it."""
    if not run.freeze_rule.compares_features or not is_due(run.config.freeze.probe_every, run.step):
        return None
    if run.replay_from and run.replay.size < (run.feature_stability.observations or 0):
        return None  # emptied when the run was prolonged: features of few observations are always alike
    similarity = run.feature_stability.compare(run.agent.online.encoder, run.replay)
    if similarity is not None:
        run.ledger.on_comparison(2 * similarity.observations)
    return similarity


def measure_drift_if_due(run: TrainingState, events: Events) -> None:
    """Measure how far observations and heads are from those at the freeze; record it, and warn."""
    if not is_due(run.config.freeze.probe_every, run.step):
        return
    metrics = run.drift_monitor.measure(run.agent, run.replay)
    if metrics is not None:
        events.on_drift(metrics, run.drift_monitor.warnings(metrics))


def freeze_if_due(run: TrainingState, events: Events, checkpointer: Checkpointer, stop: StopSignal) -> bool:
    """Freeze at the rule's step, after a checkpoint: half a conversion can't be undone.

    False where the run was asked to stop before.
    """
    if run.agent.phase is not Phase.FRAMES or not run.freeze_rule.is_due(run.step):
        return True
    if stop.requested:
        return False
    with events.stopwatch.paused():
        if run.replay.size:
            checkpointer.save()
        freeze(run, events, stop)
    return True


def freeze(run: TrainingState, events: Events, stop: StopSignal) -> None:
    """Freeze the encoder and turn the replay into latents, or keep its frames where latents would be larger."""

    def progress(done: int, total: int) -> None:
        events.on_conversion_progress(done, total)
        if stop.requested:
            raise Interrupted

    events.on_freeze_start()
    agent, replay = run.agent, run.replay
    transcoding = agent.freeze_and_transcode(replay, progress=progress)
    if transcoding.converted:
        steps = run.step - run.replay_from
        run.ledger.on_freeze(min(steps, transcoding.capacity_before) + transcoding.fitted)
    run.frozen_at = run.step
    run.invariants.on_freeze(run)
    run.feature_stability.stop()
    run.drift_monitor.measure(agent, replay)
    events.on_freeze(transcoding)


# Learning --------------------------------------------------------------------------------------------------


def learn_if_due(run: TrainingState, events: Events) -> None:
    """Make the updates of a step; every `log_every` steps record their means."""
    for _ in range(run.updates_at(run.step)):
        events.on_update(learn(run))
    run.invariants.check_agreement(run)
    if is_due(run.config.log_every, run.step):
        run.invariants.check_weights(run)
        events.on_log()


def learn(run: TrainingState) -> Update:
    """Make one update from one minibatch, and give its samples new priorities."""
    learning = run.config.learning
    batch = run.replay.sample(learning.batch_size, importance_exponent=run.importance_exponent)
    if learning.learning_rate_final_share != 1:
        run.agent.scale_learning_rates(run.learning_rate_share)
    update = run.agent.update(batch)
    run.invariants.on_update(run.step, update.metrics)
    if update.priority is not None:
        priority = update.priority.cpu().numpy()
        run.invariants.check_losses()  # computed by now, as the priorities are; otherwise checked a step later
        run.replay.update_priorities(batch.index, priority)
    run.ledger.on_update(run.agent.phase)
    return update


# Evaluating and saving -------------------------------------------------------------------------------------


def evaluate_if_due(run: TrainingState, events: Events, stop: StopSignal) -> bool:
    """Play whole games without exploration; False where the run was asked to stop meanwhile."""
    if run.step != run.config.steps and not is_due(run.config.eval_every, run.step):
        return True
    with events.stopwatch.paused():
        evaluation = run.evaluator(
            run.agent,
            episodes=run.config.eval_episodes,
            step=run.step,
            progress=partial(events.logger.advance, "evaluating"),
            stop_requested=lambda: stop.requested,
        )
        if evaluation is None:
            return False
        events.on_evaluation(evaluation)
    return True


def reset_if_due(run: TrainingState, events: Events) -> None:
    """Give the heads fresh weights, but not at the last step: a run must end with heads that have learnt."""
    if is_due(run.config.learning.reset_heads_every, run.step) and run.step != run.config.steps:
        run.agent.reset(run.renew(run.step))
        events.on_reset()


def snapshot_if_due(run: TrainingState, checkpointer: Checkpointer) -> None:
    """Keep the weights before a step, for `seer analyze`."""
    if is_due(run.config.snapshot_every, run.step):
        checkpointer.save_snapshot()


def checkpoint_if_due(run: TrainingState, events: Events, checkpointer: Checkpointer) -> None:
    """Save all that the run needs to go on; the caller of `train` does so after the last step."""
    if is_due(run.config.checkpoint_every, run.step) and run.step != run.config.steps:
        with events.stopwatch.paused():
            checkpointer.save()


def is_due(every: int | None, step: int) -> bool:
    """Tell whether an event that comes every `every` steps, or never (None), comes at this step."""
    return every is not None and step % every == 0
