"""Handlers of a run's events: each writes a record, prints a line, or keeps figures for the summary made here."""

from typing import Any

import torch

from seer.agents.agent import Update
from seer.core.feature_stability import Similarity
from seer.core.freeze_rules import FreezeChoice
from seer.core.phase import Phase
from seer.envs.registry import normalized
from seer.replay import Transcoding
from seer.runs.folder import RunFolder
from seer.runs.logger import Logger
from seer.runs.terminal import human_bytes
from seer.system_info import peak_resident_bytes, resident_bytes
from seer.training.evaluation import Evaluation
from seer.training.messages import evaluation_line, freeze_lines, latent_dtype, prolongation_lines, status
from seer.training.replan import Prolongation
from seer.training.state import TrainingState
from seer.training.stopwatch import Stopwatch


class Events:
    """Follow one run: the loop calls the handlers in the order in which things happen.

    `state_dict` belongs in every checkpoint, taken while the stopwatch is paused.
    """

    def __init__(self, run: TrainingState, folder: RunFolder, logger: Logger) -> None:
        self.run, self.folder, self.logger = run, folder, logger
        self.stopwatch = Stopwatch(run.agent)
        self._evaluations: list[dict[str, Any]] = []
        self._conversion: dict[str, Any] | None = None
        self._last_return: float | None = None
        self._warned_of_memory = False
        self._sums: dict[str, float | torch.Tensor] = {}  # sums of the updates' metrics since the last record
        self._counts: dict[str, int] = {}

    def on_step(self, info: dict[str, Any]) -> None:
        """Record a game that ended in a step of an environment: then `info` has "episode"."""
        if "episode" in info:
            self._last_return = float(info["episode"]["return"])
            self._record("episode", episode_return=self._last_return, episode_length=int(info["episode"]["length"]))

    def on_update(self, update: Update) -> None:
        """Add up an update's metrics."""
        self.stopwatch.count()
        for name, value in update.metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def on_log(self) -> None:
        """Record the means of the updates since the last time, and move the live line."""
        self.folder.refuse_lost()
        rate, replay, resident = self.stopwatch.rate(), self.run.replay, resident_bytes()
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        if self.run.config.learning.learning_rate_final_share != 1:
            means["learning_rate_share"] = self.run.learning_rate_share
        if self.run.return_support is not None:
            means |= self.run.return_support.metrics()
            if warning := self.run.return_support.warning():
                self.on_warning(warning)
        self._record(
            "train",
            **means,
            replay_size=replay.size,
            replay_bytes=replay.num_bytes,
            index_bytes=replay.index_bytes,
            updates=sum(self.stopwatch.updates.values()),
            updates_per_second=rate,
            rss_bytes=resident,
        )
        self._warn_of_memory(resident)
        self._sums, self._counts = {}, {}
        line = status(self.run, rate=rate, last_return=self._last_return)
        self.logger.advance("training", self.run.step, self.run.config.steps, line)

    def on_warning(self, line: str) -> None:
        """Print a warning; the run goes on."""
        self.logger.say(f"warning: step {self.run.step:,}: {line}")

    def on_comparison(self, similarity: Similarity, *, seconds: float) -> None:
        """Record how alike the features are to those of the comparison before, and how long comparing took."""
        reason = self.run.freeze_rule.reason
        self._record("probe", **vars(similarity), reason=reason, probe_seconds=seconds)

    def on_drift(self, metrics: dict[str, float], warnings: list[str]) -> None:
        """Record how observations and heads compare with those at the freeze."""
        self._record("guard", **metrics, warnings=warnings)
        for line in warnings:
            self.on_warning(line)

    def on_prolong(self, prolongation: Prolongation) -> None:
        """Record that the run goes on past its end."""
        self._record("prolong", **vars(prolongation))
        for line in prolongation_lines(self.run, prolongation):
            self.logger.say(line)

    def on_freeze_choice(self, before: FreezeChoice, now: FreezeChoice) -> None:
        """Record that the step of the freeze was chosen anew, before there was one."""
        self._record("freeze_choice", before=before.text, now=now.text)
        self.logger.say(f"from here on: {now}; before: {before}; the replay stays as large as it was")

    def on_reset(self) -> None:
        """Record that the heads have fresh weights."""
        self._record("reset")

    def on_freeze_start(self) -> None:
        """Note the time, and the memory before the freeze."""
        self.stopwatch.restart()
        self._resident_before = {
            "rss_bytes_before": resident_bytes(),
            "peak_rss_bytes_before": peak_resident_bytes(),
        }

    def on_conversion_progress(self, done: int, total: int) -> None:
        """Show that `done` of `total` stored rows are latents."""
        self.logger.advance("converting the replay", done, total)

    def on_freeze(self, transcoding: Transcoding) -> None:
        """Record the freeze."""
        seconds = self.stopwatch.paused_seconds
        self._conversion = _conversion_metrics(self.run, transcoding)
        self._record(
            "freeze",
            **self.run.freeze_rule.account(),
            **self._conversion,
            **{f"{name}_at_freeze": value for name, value in self.run.drift_monitor.at_freeze.items()},
            **self._resident_before,
            peak_rss_bytes_after=peak_resident_bytes(),
            freeze_seconds=seconds,
        )
        for line in freeze_lines(self.run, transcoding, seconds=seconds):
            self.logger.say(line)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Record the scores of whole games without exploration."""
        seconds = self.stopwatch.paused_seconds
        metrics = {"mean": evaluation.mean, "std": evaluation.std, "episodes": len(evaluation.returns)}
        self._evaluations.append({"step": self.run.step} | metrics)
        self._record("eval", **metrics, returns=list(evaluation.returns), eval_seconds=seconds)
        self.logger.say(evaluation_line(self.run.step, evaluation, seconds=seconds))

    def summary(self) -> dict[str, Any]:
        """Return the figures of the run for `summary.json`.

        `normalized_score` is the last evaluation's: on Atari 0 is a random agent's and 1 a human's (Wang et al. 2016),
        on DeepMind Control 1 the highest; None where no reference is known.
        """
        run, config, evaluations = self.run, self.folder.config, self._evaluations
        cost, updates, seconds = run.ledger.cost, self.stopwatch.updates, self.stopwatch.seconds
        rows = self._conversion or {
            "row_bytes_before": run.replay.row.num_bytes,
            "row_bytes_after": run.replay.row.num_bytes,
            "capacity_before": run.replay.capacity,
            "capacity_after": run.replay.capacity,
            "latent_dtype": latent_dtype(run),
            "latent_error": None,
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
                **{name: value for name, value in rows.items() if name != "rows"},
                "clipped_share": run.replay.clipped_share,
            },
            "updates_per_second": {half: updates[half] / seconds[half] if seconds[half] else None for half in seconds},
            "peak_rss_bytes": peak_resident_bytes(),
            "wall_seconds": self.logger.wall_seconds,
            "evaluation": evaluations,
            "normalized_score": normalized(config["env"], evaluations[-1]["mean"]) if evaluations else None,
        } | self.logger.summary()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {
            "evaluations": self._evaluations,
            "freeze": self._conversion,
            "last_return": self._last_return,
            "sums": {name: float(total) for name, total in self._sums.items()},
            "counts": dict(self._counts),
            "metrics": self.logger.state_dict(),
            **self.stopwatch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the logger has been opened with its part."""
        self._evaluations, self._conversion = state["evaluations"], state["freeze"]
        self._last_return, self._sums, self._counts = state["last_return"], state["sums"], state["counts"]
        self.stopwatch.load_state_dict(state)

    def _record(self, kind: str, **metrics: Any) -> None:
        step = self.run.step
        frames = step * self.run.environment.action_repeat
        self.logger.record(kind, step=step, frames=frames, flops=self.run.ledger.total, **metrics)

    def _warn_of_memory(self, resident: int) -> None:
        """Warn once where the run takes more memory than was foretold."""
        if self.run.budget is not None and resident > self.run.budget and not self._warned_of_memory:
            self._warned_of_memory = True
            taken, most = human_bytes(resident), human_bytes(self.run.budget)
            self.on_warning(f"the run takes {taken} of memory, not at most {most}")


def _conversion_metrics(run: TrainingState, transcoding: Transcoding) -> dict[str, Any]:
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
