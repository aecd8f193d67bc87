"""Statistics over seeds and environments: those that the paper prints, and those that the field now expects.

Mean and standard deviation are the paper's. Interquartile mean, performance profiles, probability of improvement
and stratified bootstrap intervals follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice". Nothing here draws from a global generator.

Scores are one array per environment, [..., R]: the R runs (seeds) last, any number of resamples before. R may
differ between environments. Axes: R runs, P pairs of scores, T thresholds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Scores = Sequence[np.ndarray]
RESAMPLES = 10_000
BOOTSTRAP_SEED = 0
"""Tables and charts draw their resamples from this seed, so that the same runs give the same intervals."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over `count` runs; of a single run there is no deviation."""

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        std = "" if self.std is None else f" ± {self.std:,.1f}"
        return f"{self.mean:,.1f}{std}"


@dataclass(frozen=True)
class Estimate:
    """A statistic with the bounds of its confidence interval, each a number or [T]."""

    value: Any
    low: Any
    high: Any


def spread(scores: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation (R - 1 in the denominator) of R scores; ValueError where R is 0."""
    if not len(scores):
        raise ValueError("no score to average")
    values = np.asarray(scores, dtype=float)
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return Spread(float(values.mean()), std, len(values))


def interquartile_mean(scores: Scores) -> np.ndarray:
    """Return the mean of the middle half of all scores pooled, [...]; a quarter, rounded down, is cut at each end."""
    pooled = np.sort(np.concatenate(scores, axis=-1), axis=-1)
    cut = pooled.shape[-1] // 4
    return np.asarray(pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1))


def performance_profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of runs that score more than each threshold, environments weighing the same: [..., T]."""
    shares = [(task[..., None] > thresholds).mean(axis=-2) for task in scores]
    return np.asarray(np.mean(shares, axis=0))


def probability_of_improvement(scores: Scores, others: Scores) -> np.ndarray:
    """Tell how likely a run of the first kind beats one of the second in the same environment, [...].

    The share of won pairs, ties counting half, averaged over environments (Agarwal et al. 2021, section 4.3).
    ValueError where the two kinds were not run in the same number of environments.
    """
    wins = []
    for ours, theirs in zip(scores, others, strict=True):
        ahead = ours[..., :, None] - theirs[..., None, :]  # [..., R, R']
        wins.append(((ahead > 0) + 0.5 * (ahead == 0)).mean(axis=(-2, -1)))
    return np.asarray(np.mean(wins, axis=0))


def bootstrap(
    statistic: Callable[..., np.ndarray], *groups: Scores, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Compute a statistic of one or more groups of scores, with its 95% stratified percentile bootstrap interval.

    Stratified: the runs of each environment are drawn anew, with replacement, apart from those of every other.
    """
    drawn = [[task[rng.integers(len(task), size=(resamples, len(task)))] for task in group] for group in groups]
    low, high = np.quantile(statistic(*drawn), [0.025, 0.975], axis=0)
    return Estimate(statistic(*groups), low, high)


def score_at(budget: float, *, spent: Sequence[float], scores: Sequence[float]) -> float | None:
    """Return the score when `budget` was spent, on a straight line between the evaluations before and after it.

    `spent` (FLOPs, steps or seconds, ascending) and `scores` are of one run's evaluations. None outside of them: a
    run that stopped short of the budget has no score there.
    """
    if not len(spent) or not spent[0] <= budget <= spent[-1]:
        return None
    return float(np.interp(budget, spent, scores))
