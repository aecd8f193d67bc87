"""A run's logger: it sends each record to every output.

Metrics that depend on the machine and not on the run's settings have `second` or `rss` in their name, and no others do.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from seer.runs.folder import RunFolder, plain
from seer.runs.outputs import make_outputs
from seer.runs.outputs.base import Output, Record, State
from seer.runs.outputs.jsonl import JsonlOutput
from seer.runs.outputs.tensorboard import TensorBoardOutput


class Logger:
    """Send records and lines to outputs, in their order: the first one has a record before the others.

    `open` it before the first record. `state_dict` belongs in every checkpoint, taken after the last record of its
    step; opened with it, the outputs drop later records, and `wall_seconds` goes on from there.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.outputs = tuple(outputs)
        self._to_close: list[Output] = []
        self._kept: State = {}  # the outputs' states, also of those that the run no longer has
        self._last_step = 0
        self._seconds_before = 0.0
        self._started = time.perf_counter()

    def open(self, state: State | None = None) -> None:
        """Open every output, for a new run or with the state in a checkpoint."""
        after = None
        if state is not None:
            self._kept = state.get("outputs") or {JsonlOutput.name: state}  # older checkpoints: that file's alone
            self._last_step = after = state["last_step"]
            self._seconds_before, self._started = state["wall_seconds"], time.perf_counter()
        for output in self.outputs:
            self._to_close.append(output)
            output.open(self._kept.get(output.name, {}), after=after)

    @property
    def wall_seconds(self) -> float:
        """Return the wall time of the run in seconds, up to the checkpoint it resumed from and since."""
        return self._seconds_before + time.perf_counter() - self._started

    def record(self, kind: str, *, step: int, frames: int, flops: int, **metrics: Any) -> Record:
        """Send one record, and return it as sent.

        A metric is a number, string, bool, None, or a list or dict of those. JSON has no nan or infinity: they become
        null.
        """
        moment = {"step": step, "frames": frames, "flops": flops, "wall_seconds": round(self.wall_seconds, 3)}
        record: Record = plain({"kind": kind, **moment, **metrics})
        for output in self.outputs:
            output.record(record)
        self._last_step = max(record["step"], self._last_step)
        return record

    def say(self, line: str) -> None:
        """Show one line."""
        for output in self.outputs:
            output.say(line)

    def advance(self, task: str, done: int, total: int, status: str = "") -> None:
        """Show how far a task is."""
        for output in self.outputs:
            output.advance(task, done, total, status)

    def state_dict(self) -> State:
        """Return the state for resuming; all records so far are safe when this returns."""
        self._kept = self._kept | {output.name: output.state_dict() for output in self.outputs}
        return {"last_step": self._last_step, "wall_seconds": self.wall_seconds, "outputs": self._kept}

    def summary(self) -> dict[str, Any]:
        """Return the outputs' entries in summary.json."""
        return {name: value for output in self.outputs for name, value in output.summary().items()}

    def close(self) -> None:
        """Close every output that was opened."""
        while self._to_close:
            self._to_close.pop().close()


@contextmanager
def run_logger(folder: RunFolder, terminal: Output, state: State | None = None) -> Iterator[Logger]:
    """Give the open logger of a run: metrics.jsonl, TensorBoard, the outputs of its setting `log`, the terminal."""
    chosen = make_outputs(folder.config.get("log", ()), folder.path, folder.config)
    logger = Logger([JsonlOutput(folder.path), TensorBoardOutput(folder.path), *chosen, terminal])
    try:
        logger.open(state)
        yield logger
    finally:
        logger.close()
