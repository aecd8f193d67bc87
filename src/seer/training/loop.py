"""The training loop: SEER's algorithm 1, for any agent and any environment."""

from typing import Any

from seer.agents.agent import Update
from seer.training.evaluation import Evaluation
from seer.training.journal import Journal
from seer.training.parts import Training


def train(run: Training, journal: Journal) -> None:
    """Train to the last step of the schedule, or until the journal is asked to stop (SEER, algorithm 1)."""
    schedule = run.schedule
    while run.step < schedule.steps and not journal.stop_requested:
        run.step += 1
        journal.acted(collect(run))
        if run.freezing.due(run.step):
            with journal.paused():
                freeze(run, journal)
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


def freeze(run: Training, journal: Journal) -> None:
    """Freeze the encoder and turn the replay into latents, or keep its frames where latents would be larger."""
    journal.freezing()
    run.agent.freeze(run.phase_after_freeze)
    transcoding = run.replay.transcode(run.agent.encode, run.agent.latent, progress=journal.converting)
    if transcoding.converted:
        run.ledger.froze(min(run.step, transcoding.capacity_before))
    run.frozen_at = run.step
    journal.froze(transcoding)
