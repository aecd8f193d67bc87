"""Interleaved timing: every row gets a short slice in every round, so that noise hits all rows alike."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

Progress = Callable[[int, int, str], None]  # done, total, what is being measured


def no_progress(_done: int, _total: int, _what: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Plan:
    """How long to measure, and with how much stored.

    Attributes:
        rounds: slices per row.
        slice_seconds: least length of a slice; calls shorter than that are repeated.
        rows: observations stored, by kind of environment: more than a processor's caches hold.
        recorded: steps really played for them, by kind of environment; the rest repeats these.
    """

    rounds: int
    slice_seconds: float
    rows: Mapping[str, int]
    recorded: Mapping[str, int]


FULL = Plan(15, 0.1, {"atari": 8000, "control": 3000}, {"atari": 2500, "control": 150})
QUICK = Plan(3, 0.02, {"atari": 1000, "control": 300}, {"atari": 500, "control": 40})


@dataclass(frozen=True)
class Probe:
    """Something to measure.

    Attributes:
        name: of its row.
        measure: makes that many calls and returns the seconds they took.
        period: calls after which the work repeats (SAC's actor learns in every second update); a slice is a multiple.
        size: how many of the row's units one call handles.
    """

    name: str
    measure: Callable[[int], float]
    period: int = 1
    size: int = 1


@dataclass(frozen=True)
class Timing:
    """Median and quartiles over the slices, milliseconds per unit."""

    milliseconds: float
    lower: float
    upper: float


def timed(call: Callable[[], object], device: torch.device) -> Callable[[int], float]:
    """A `Probe.measure` that calls again and again."""

    def measure(calls: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        synchronize(device)
        return time.perf_counter() - start

    return measure


def synchronize(device: torch.device) -> None:
    """Wait for the device: work is only queued there."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleave(probes: Sequence[Probe], plan: Plan, progress: Progress) -> dict[str, Timing]:
    """Measure all probes in `plan.rounds` rounds, each round in an order of its own."""
    total = len(probes) * (plan.rounds + 1)
    calls, done = [], 0
    for probe in probes:
        progress(done, total, f"warming up {probe.name}")
        calls.append(_calls_per_slice(probe, plan.slice_seconds))
        done += 1
    seconds: list[list[float]] = [[] for _ in probes]
    rng = np.random.default_rng(0)
    for _ in range(plan.rounds):
        for index in rng.permutation(len(probes)):
            progress(done, total, probes[index].name)
            seconds[index].append(probes[index].measure(calls[index]) / (calls[index] * probes[index].size))
            done += 1
    progress(total, total, "")
    return {probe.name: summarize(slices) for probe, slices in zip(probes, seconds, strict=True)}


def summarize(seconds: Sequence[float]) -> Timing:
    """Median and quartiles of seconds per unit."""
    lower, median, upper = np.quantile(seconds, (0.25, 0.5, 0.75)) * 1e3
    return Timing(float(median), float(lower), float(upper))


def _calls_per_slice(probe: Probe, slice_seconds: float) -> int:
    """Calls that fill a slice; the first ones, which may compile or fill caches, tell nothing."""
    probe.measure(probe.period)
    seconds = max(probe.measure(probe.period), 1e-9)
    return probe.period * max(1, math.ceil(slice_seconds / seconds))
