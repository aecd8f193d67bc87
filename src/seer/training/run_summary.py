"""The figures of a run for `summary.json`."""

from collections.abc import Mapping
from typing import Any

from seer.core.phase import Phase
from seer.envs.registry import normalized
from seer.replay import Transcoding
from seer.system_info import peak_resident_bytes
from seer.training.messages import latent_dtype
from seer.training.state import TrainingState
from seer.training.stopwatch import Stopwatch

FREEZE_ROWS = (
    *("row_bytes_before", "row_bytes_after", "capacity_before", "capacity_after"),
    *("latent_dtype", "latent_error"),
)


def conversion_metrics(run: TrainingState, transcoding: Transcoding) -> dict[str, Any]:
    """Return the figures of the replay's conversion, for the record of the freeze and the summary."""
    return {
        "rows": transcoding.rows,
        "row_bytes_before": transcoding.row_bytes_before,
        "row_bytes_after": transcoding.row_bytes_after,
        "capacity_before": transcoding.capacity_before,
        "capacity_after": transcoding.capacity_after,
        "latent_dtype": latent_dtype(run),
        "latent_error": None if transcoding.error is None else vars(transcoding.error),
    }


def summarize(
    run: TrainingState,
    config: Mapping[str, Any],
    *,
    evaluations: list[dict[str, Any]],
    conversion: Mapping[str, Any] | None,
    stopwatch: Stopwatch,
    wall_seconds: float,
) -> dict[str, Any]:
    """Return the summary of a run with these settings, as JSON; without a freeze `conversion` is None.

    `normalized_score` is the last evaluation's: on Atari 0 is a random agent's and 1 a human's (Wang et al. 2016), on
    DeepMind Control 1 the highest; None where no reference is known.
    """
    cost, updates, seconds = run.ledger.cost, stopwatch.updates, stopwatch.seconds
    rows = conversion or {
        "row_bytes_before": run.replay.row.num_bytes,
        "row_bytes_after": run.replay.row.num_bytes,
        "capacity_before": run.replay.capacity,
        "capacity_after": run.replay.capacity,
        "latent_dtype": latent_dtype(run),
    }
    return {
        **{name: config[name] for name in ("env", "agent", "seed")},
        "steps": run.step,
        "frozen_at": run.frozen_at,
        "freeze": {"step": run.frozen_at} | run.freeze_rule.account(),
        "flops": {
            "total": run.ledger.total,
            "baseline": run.ledger.baseline,
            "per_step_before": cost.step(Phase.FRAMES, updates=run.config.mean_updates),
            "per_step_after": cost.step(run.phase_after_freeze, updates=run.config.mean_updates),
            "freeze": run.ledger.freeze,
            "probe": run.ledger.probe,
        },
        "replay": {
            "bytes": run.replay.num_bytes,
            "size": run.replay.size,
            **{name: rows.get(name) for name in FREEZE_ROWS},
            "clipped_share": run.replay.clipped_share,
        },
        "updates_per_second": {half: updates[half] / seconds[half] if seconds[half] else None for half in seconds},
        "peak_rss_bytes": peak_resident_bytes(),
        "wall_seconds": wall_seconds,
        "evaluation": evaluations,
        "normalized_score": normalized(config["env"], evaluations[-1]["mean"]) if evaluations else None,
    }
