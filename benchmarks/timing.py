"""Interleaved timing: every row gets a short slice in every round, so that a disturbance hits all rows alike."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.benchmark import Measurement, Timer, timer


class Clock:
    """The timer of every row; it can be stopped for what a call needs but isn't to be timed."""

    def __init__(self) -> None:
        self.left_out = 0.0

    def __call__(self) -> float:
        """Return seconds, without those while it was stopped; an accelerator's queued work is waited for."""
        return timer() - self.left_out

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out the time inside."""
        began = timer()
        yield
        self.left_out += timer() - began


CLOCK = Clock()


@dataclass(frozen=True)
class Row:
    """A call to be timed, which handles so many of the row's units."""

    name: str
    call: Callable[[], object]
    units: int = 1


def interleave(rows: Sequence[Row], *, rounds: int, slice_seconds: float, threads: int) -> dict[str, Measurement]:
    """Return each row's seconds per unit, one figure a round: the mean of a slice of at least `slice_seconds`.

    The order changes from round to round. PyTorch's timer warms up before each slice and keeps garbage collection out.
    """
    timers = [Timer("call()", timer=CLOCK, globals={"call": row.call}, num_threads=threads) for row in rows]
    slices: list[list[Measurement]] = [[] for _ in rows]
    rng = np.random.default_rng(0)
    for number in range(rounds):
        for done, index in enumerate(rng.permutation(len(rows))):
            _progress(f"round {number + 1} of {rounds}, row {done + 1} of {len(rows)}: {rows[index].name}")
            slices[index].append(timers[index].blocked_autorange(min_run_time=slice_seconds))
    _progress("")
    return {row.name: _of_rounds(each, row.units) for row, each in zip(rows, slices, strict=True)}


def milliseconds(measured: Measurement) -> dict[str, Any]:
    """Return the median and the quartiles over the rounds, in milliseconds per unit."""
    lower, median, upper = (float(value) for value in 1e3 * np.quantile(measured.times, (0.25, 0.5, 0.75)))
    return {"milliseconds": median, "quartiles": [lower, upper]}


def _of_rounds(slices: Sequence[Measurement], units: int) -> Measurement:
    return Measurement(units, [each.mean for each in slices], slices[0].task_spec)


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
