"""The lines that a run shows while it trains."""

from collections.abc import Iterator

from seer.replay import Prioritized, Transcoding
from seer.runs.terminal import human_bytes
from seer.training.evaluation import Evaluation
from seer.training.replan import Prolongation
from seer.training.state import TrainingState


def status(run: TrainingState, *, rate: float, last_return: float | None) -> str:
    """Return the end of the live line: phase, updates per second, last score, how full the replay is."""
    score = "no game over yet" if last_return is None else f"last score {last_return:,.0f}"
    full = run.replay.size / run.replay.capacity
    return f"{run.agent.phase} | {rate:,.0f} updates/s | {score} | replay {full:.0%} of {run.replay.capacity:,}"


def evaluation_line(step: int, evaluation: Evaluation, *, seconds: float) -> str:
    """Return an evaluation's score."""
    count = len(evaluation.returns)
    games = f"{count} episode{'s' * (count > 1)} ({seconds:.1f} s)"
    return f"step {step:,}: score {evaluation.mean:,.1f} ± {evaluation.std:,.1f} over {games}"


def freeze_lines(run: TrainingState, transcoding: Transcoding, *, seconds: float) -> Iterator[str]:
    """Give the lines of a freeze: the conversion, and a warning where stored latents are blurred."""
    yield f"step {run.step:,}: encoder frozen{_reason(run)}; {_conversion(run, transcoding, seconds)}"
    if transcoding.error is not None and transcoding.error.is_large:
        dtype = latent_dtype(run)
        yield f"warning: {dtype} blurs what tells observations apart: --latent-dtype float32 doesn't"


def prolongation_lines(run: TrainingState, prolongation: Prolongation) -> Iterator[str]:
    """Give what a run goes on with past its end: steps, replay, and schedules that have ended."""
    before, replay = prolongation.steps_before, run.replay
    yield (
        f"prolonged from {before:,} to {prolongation.steps:,} steps; the replay stays as large as it was, "
        f"{human_bytes(replay.num_bytes)} for {replay.capacity:,} observations"
    )
    changing = {
        "the exponent of the importance weights": isinstance(replay.replays[0].sampler, Prioritized),
        "the learning rate": run.config.learning.learning_rate_final_share != 1,
    }
    if names := " and ".join(name for name, is_so in changing.items() if is_so):
        yield f"at its last value from step {run.schedules_end:,} on, as first planned: {names}"
    if prolongation.replay == "empty":
        yield (
            "the replay wasn't kept (--keep-replay keeps it): the agent fills an empty one in new episodes, and "
            f"updates go on at step {prolongation.updates_from:,}"
        )


def latent_dtype(run: TrainingState) -> str | None:
    """Return the dtype of the replay's latents; None while it holds frames."""
    return str(run.replay.row.dtype).removeprefix("torch.") if run.replay.holds_latents else None


def _reason(run: TrainingState) -> str:
    """Return why the run froze, unless its step was given."""
    freezing = run.freeze_rule
    if freezing.similarity is not None:
        return f" ({freezing.reason}, similarity {freezing.similarity:.3f})"
    return "" if freezing.reason == "given step" else f" ({freezing.reason})"


def _conversion(run: TrainingState, transcoding: Transcoding, seconds: float) -> str:
    """Return the end of the freeze's line: the conversion of the replay, or why there was none."""
    before, after = f"{transcoding.row_bytes_before:,} bytes", f"{transcoding.row_bytes_after:,} bytes"
    if not transcoding.converted:
        return (
            f"latents ({run.agent.latent.num_bytes:,} bytes) would be larger than a frame ({before}), so the replay "
            "keeps frames and only compute is saved: --latent-dtype and --latent-pool make smaller ones"
        )
    done = f"{transcoding.rows:,} frames of {before} are latents of {after} in {seconds:.1f} s"
    if transcoding.rows == 0:
        done = f"the replay stores latents of {after}, no frames of {before}"
    if transcoding.error is not None:
        done += f" ({latent_dtype(run)}, error {transcoding.error.relative:.2%} of their standard deviation)"
    return (
        f"{done}; the same {human_bytes(run.replay.num_bytes)} now hold "
        f"{transcoding.capacity_after:,} observations instead of {transcoding.capacity_before:,}"
    )
