"""What a run tells the world: records of its figures, lines on the terminal, checkpoints, a summary.

Figures that depend on the machine and not on the run have `second` or `rss` in their name, and no others do.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from seer.agents.agent import Update
from seer.core.phase import Phase
from seer.replay import Transcoding
from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import Metrics, RunFolder
from seer.runs.snapshots import save_snapshot
from seer.runs.terminal import Terminal, closing_table, human_bytes
from seer.signals import stop_signals
from seer.system_info import peak_resident_bytes, resident_bytes
from seer.training.evaluation import Evaluation
from seer.training.feature_stability import Similarity
from seer.training.state import TrainingState


class Interrupted(Exception):
    """The run was asked to stop where it can't be saved: it goes on from its last checkpoint."""


class Journal:
    """Follows one run: call the methods in the order in which things happen.

    Use `with journal:` around training; inside it Ctrl-C, SIGTERM and a closed terminal only set `stop_requested`,
    so that the loop ends between two steps and a checkpoint can be written.
    """

    def __init__(self, run: TrainingState, folder: RunFolder, metrics: Metrics, terminal: Terminal) -> None:
        self.run, self.folder, self.metrics, self.terminal = run, folder, metrics, terminal
        self.stop_requested = False
        self.saved: Path | None = None  # the last checkpoint, and its step
        self.saved_at: int | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.freeze: dict[str, Any] | None = None
        self.updates = {"before": 0, "after": 0}  # before and after the freeze
        self.seconds = {"before": 0.0, "after": 0.0}  # of acting and learning since the first update
        self.last_return: float | None = None
        self._warned = False  # of the memory it takes
        self._sums: dict[str, float | torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._logged = (0.0, 0)  # seconds and updates at the last log
        self._mark = 0.0  # when the running stretch of acting and learning began

    # The stopwatch and the signals -----------------------------------------------------------------------------

    def __enter__(self) -> "Journal":
        self._handlers = {number: signal.signal(number, self._stop) for number in stop_signals()}
        self.terminal.start()
        self._mark = time.perf_counter()
        self._logged = (self._trained_seconds(), sum(self.updates.values()))
        return self

    def __exit__(self, *exception: object) -> None:
        self._lap()
        self.terminal.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.stop_requested:
            self.stop_requested = True
            with suppress(RuntimeError):  # the signal came while this thread was writing there
                self.terminal.say("asked to stop: the run will be saved first")

    def _lap(self) -> None:
        now = time.perf_counter()
        if any(self.updates.values()):
            self.seconds[self._half()] += now - self._mark
        self._mark = now

    def _half(self) -> str:
        return "before" if self.run.agent.phase is Phase.FRAMES else "after"

    def _trained_seconds(self) -> float:
        return sum(self.seconds.values())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep what happens inside out of the updates per second."""
        self._lap()
        yield
        self._mark = time.perf_counter()

    def _paused_seconds(self) -> float:
        return time.perf_counter() - self._mark

    # What happens ----------------------------------------------------------------------------------------------

    def on_step(self, info: dict[str, Any]) -> None:
        """One environment step; `info["episode"]` is there when a whole game has ended."""
        if "episode" in info:
            self.last_return = float(info["episode"]["return"])
            self._record("episode", episode_return=self.last_return, episode_length=int(info["episode"]["length"]))

    def warn(self, line: str) -> None:
        """Say what may be wrong with the run, which goes on."""
        self.terminal.say(f"warning: step {self.run.step:,}: {line}")

    def on_update(self, update: Update) -> None:
        """One gradient step."""
        if not any(self.updates.values()):
            self._mark = time.perf_counter()  # the steps before are no learning
        self.updates[self._half()] += 1
        for name, value in update.metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def log(self) -> None:
        """Record the means of the updates since the last log, and move the live line."""
        self.folder.refuse_lost()
        self._lap()
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        seconds, updates = self._trained_seconds(), sum(self.updates.values())
        rate = (updates - self._logged[1]) / max(1e-9, seconds - self._logged[0])
        replay = self.run.replay
        stored = {"replay_size": replay.size, "replay_bytes": replay.num_bytes, "index_bytes": replay.index_bytes}
        resident = resident_bytes()
        if self.run.return_support is not None:
            means |= self.run.return_support.metrics()
        self._record("train", **means, **stored, updates=updates, updates_per_second=rate, rss_bytes=resident)
        self._warn_of_memory(resident)
        self._sums, self._counts, self._logged = {}, {}, (seconds, updates)
        self._show(rate)

    def on_freeze_start(self) -> None:
        """The freeze begins: note the time, and the memory before it."""
        self._mark = time.perf_counter()
        self._resident_before = {
            "rss_bytes_before": resident_bytes(),
            "peak_rss_bytes_before": peak_resident_bytes(),
        }

    def on_conversion_progress(self, done: int, total: int) -> None:
        """`done` of `total` stored rows are latents.

        Raises:
            Interrupted: asked to stop meanwhile.
        """
        if self.stop_requested:
            raise Interrupted
        self.terminal.advance("converting the replay", done, total)

    def on_comparison(self, similarity: Similarity, *, seconds: float) -> None:
        """The features were compared with those of the comparison before, which took so long."""
        freezing = self.run.freeze_rule
        self._record("probe", **vars(similarity), reason=freezing.reason, probe_seconds=seconds)

    def on_drift(self, figures: dict[str, float], warnings: list[str]) -> None:
        """Observations and heads were compared with those at the freeze."""
        self._record("guard", **figures, warnings=warnings)
        for line in warnings:
            self.warn(line)

    def on_reset(self) -> None:
        """The heads have fresh weights."""
        self._record("reset", encoder=self.run.schedule.reset_encoder)

    def snapshot(self) -> None:
        """Keep the weights of this step for `seer analyze`."""
        save_snapshot(self.folder.path, self.run.step, self.run.agent)

    def on_freeze(self, transcoding: Transcoding, changes: dict[str, float]) -> None:
        """The freeze is over; `changes` are those of values and actions."""
        seconds = self._paused_seconds()
        figures = {
            "rows": transcoding.rows,
            "row_bytes_before": transcoding.row_bytes_before,
            "row_bytes_after": transcoding.row_bytes_after,
            "capacity_before": transcoding.capacity_before,
            "capacity_after": transcoding.capacity_after,
            "latent_dtype": _latent_dtype(self.run),
            "latent_error": None if transcoding.error is None else vars(transcoding.error),
        }
        self.freeze = figures
        decision = self.run.freeze_rule.account()
        resident = self._resident_before | {"peak_rss_bytes_after": peak_resident_bytes()}
        guards = {f"{name}_at_freeze": value for name, value in self.run.drift_monitor.at_freeze.items()}
        self._record("freeze", **decision, **figures, **changes, **guards, **resident, freeze_seconds=seconds)
        self.terminal.say(self._freeze_line(transcoding, seconds))
        if transcoding.error is not None and transcoding.error.relative > MOST_ERROR:
            dtype = _latent_dtype(self.run)
            self.terminal.say(f"warning: {dtype} blurs what tells observations apart: --latent-dtype float32 doesn't")
        if changes:
            line = ACTION_CHANGES if hasattr(self.run.environment.action_space, "n") else VECTOR_CHANGES
            self.terminal.say((CHANGES_LINE + line).format(**changes))

    def on_evaluation_progress(self, done: int, total: int) -> None:
        """`done` of `total` games have been played."""
        self.terminal.advance("evaluating", done, total)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Whole games were played without exploration."""
        seconds = self._paused_seconds()
        figures = {"mean": evaluation.mean, "std": evaluation.std, "episodes": len(evaluation.returns)}
        self.evaluations.append({"step": self.run.step} | figures)
        self._record("eval", **figures, returns=list(evaluation.returns), eval_seconds=seconds)
        self.terminal.say(
            f"step {self.run.step:,}: score {evaluation.mean:,.1f} ± {evaluation.std:,.1f} "
            f"over {len(evaluation.returns)} episode{'s' * (len(evaluation.returns) > 1)} ({seconds:.1f} s)"
        )

    def checkpoint(self) -> None:
        """Save everything the run needs to continue exactly from here.

        Raises:
            RunError: something went wrong that a checkpoint would keep; it isn't written.
            SettingError: the disk is full or forbidden.
        """
        self.run.invariants.check_all(self.run)
        self.folder.refuse_lost()
        parts = self.run.state_dict() | {"journal": self.state_dict(), "settings": self.folder.config}
        self.saved = save_checkpoint(self.folder.checkpoints, self.run.step, parts, before=self.saved)
        self.saved_at = self.run.step

    def finish(self) -> None:
        """Write the summary, which marks the run as finished; keep its agent alone; print the closing table."""
        summary = self.summary()
        self.folder.write_summary(summary)
        parts = {"agent": self.run.agent.state_dict(), "settings": self.folder.config}
        save_checkpoint(self.folder.checkpoints, self.run.step, parts, keep=1)
        self.terminal.table(f"{summary['env']}, {summary['agent']}, seed {summary['seed']}", closing_table(summary))

    # State and summary -----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Figures so far, for a checkpoint; taken while `paused`."""
        return {
            "evaluations": self.evaluations,
            "freeze": self.freeze,
            "seconds": dict(self.seconds),
            "updates": dict(self.updates),
            "last_return": self.last_return,
            "sums": {name: float(total) for name, total in self._sums.items()},
            "counts": dict(self._counts),
            "metrics": self.metrics.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], checkpoint: Path | None = None) -> None:
        """Continue from `state_dict`, in `checkpoint`; records written after it are taken back."""
        self.evaluations, self.freeze = state["evaluations"], state["freeze"]
        self.seconds, self.updates = state["seconds"], state["updates"]
        self.last_return, self._sums, self._counts = state["last_return"], state["sums"], state["counts"]
        self.metrics.load_state_dict(state["metrics"])
        self.saved, self.saved_at = checkpoint, self.run.step

    def summary(self) -> dict[str, Any]:
        """The run in figures, for `summary.json`."""
        run, cost = self.run, self.run.ledger.cost
        rates = {half: self.updates[half] / self.seconds[half] if self.seconds[half] else None for half in self.seconds}
        rows = self.freeze or {
            "row_bytes_before": run.replay.row.num_bytes,
            "row_bytes_after": run.replay.row.num_bytes,
            "capacity_before": run.replay.capacity,
            "capacity_after": run.replay.capacity,
            "latent_dtype": _latent_dtype(run),
            "latent_error": None,
        }
        return {
            "env": self.folder.config["env"],
            "agent": self.folder.config["agent"],
            "seed": self.folder.config["seed"],
            "steps": run.step,
            "frozen_at": run.frozen_at,
            "freeze": {"step": run.frozen_at} | run.freeze_rule.account(),
            "flops": {
                "total": run.ledger.total,
                "baseline": run.ledger.baseline,
                "per_step_before": cost.step(Phase.FRAMES, updates=run.schedule.updates_per_step),
                "per_step_after": cost.step(run.phase_after_freeze, updates=run.schedule.updates_per_step),
                "freeze": run.ledger.freeze,
                "probe": run.ledger.probe,
            },
            "replay": {
                "bytes": run.replay.num_bytes,
                "size": run.replay.size,
            }
            | {name: rows.get(name) for name in FREEZE_ROWS}
            | {"clipped_share": run.replay.clipped_share},
            "updates_per_second": rates,
            "peak_rss_bytes": peak_resident_bytes(),
            "wall_seconds": self.metrics.wall_seconds,
            "evaluation": self.evaluations,
            "metrics_sha256": self.metrics.sha256,
        }

    def _record(self, kind: str, **figures: Any) -> None:
        step = self.run.step
        frames = step * self.run.environment.action_repeat
        self.metrics.record(kind, step=step, frames=frames, flops=self.run.ledger.total, **figures)

    def _warn_of_memory(self, resident: int) -> None:
        """Say once that the run takes more than it should."""
        if self.run.budget is not None and resident > self.run.budget and not self._warned:
            self._warned = True
            taken, most = human_bytes(resident), human_bytes(self.run.budget)
            self.warn(f"the run takes {taken} of memory, not at most {most}")

    def _show(self, rate: float) -> None:
        run, replay = self.run, self.run.replay
        score = "no game over yet" if self.last_return is None else f"last score {self.last_return:,.0f}"
        status = (
            f"{run.agent.phase} | {rate:,.0f} updates/s | {score} | "
            f"replay {replay.size / replay.capacity:.0%} of {replay.capacity:,}"
        )
        self.terminal.advance("training", run.step, run.schedule.steps, status)

    def _freeze_line(self, transcoding: Transcoding, seconds: float) -> str:
        before, after = f"{transcoding.row_bytes_before:,} bytes", f"{transcoding.row_bytes_after:,} bytes"
        frozen = f"step {self.run.step:,}: encoder frozen{self._why()}"
        if not transcoding.converted:
            return (
                f"{frozen}; latents ({self.run.agent.latent.num_bytes:,} bytes) would be larger than a frame "
                f"({before}), so the replay keeps frames and only compute is saved: --latent-dtype and --latent-pool "
                "make smaller ones"
            )
        done = f"{transcoding.rows:,} frames of {before} are latents of {after} in {seconds:.1f} s"
        if transcoding.rows == 0:
            done = f"the replay stores latents of {after}, no frames of {before}"
        if transcoding.error is not None:
            done += f" ({_latent_dtype(self.run)}, error {transcoding.error.relative:.2%} of their standard deviation)"
        return (
            f"{frozen}; {done}; the same {human_bytes(self.run.replay.num_bytes)} now hold "
            f"{transcoding.capacity_after:,} observations instead of {transcoding.capacity_before:,}"
        )

    def _why(self) -> str:
        freezing = self.run.freeze_rule
        if freezing.similarity is not None:
            return f" ({freezing.reason}, similarity {freezing.similarity:.3f})"
        return "" if freezing.reason == "given step" else f" ({freezing.reason})"


MOST_ERROR = 0.05
"""Of the latents' standard deviation: warn where storing them costs more."""
CHANGES_LINE = (
    "what the freeze changes on the newest observations: value {value_before:.4g} -> {value_after:.4g}, "
    "the target's {target_value_before:.4g} -> {target_value_after:.4g}, as it shares the frozen encoder from now on; "
)
ACTION_CHANGES, VECTOR_CHANGES = (
    "and {action_change:.0%} of the actions",
    "and actions by {action_change:.2g} on average",
)
FREEZE_ROWS = (
    *("row_bytes_before", "row_bytes_after", "capacity_before", "capacity_after"),
    *("latent_dtype", "latent_error"),
)


def _latent_dtype(run: TrainingState) -> str | None:
    """What the replay keeps latents as, None while it holds frames."""
    return str(run.replay.row.dtype).removeprefix("torch.") if run.replay.holds_latents else None
