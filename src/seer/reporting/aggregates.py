"""Sum up groups over several environments, for each set of groups that the environments share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from seer.envs.registry import normalized
from seer.reporting.statistics import (
    BOOTSTRAP_SEED,
    Estimate,
    Scores,
    bootstrap,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)

PROFILE_POINTS = 41

ScoreTable = Mapping[str, Mapping[str, Sequence[float]]]
"""By environment and label, one score per run."""


@dataclass(frozen=True)
class Row:
    """One group: interquartile mean and profile [T] of normalised scores, if any can be normalised; probability of
    improvement over the first row's group, if it is another."""

    label: str
    mean: Estimate | None
    better: Estimate | None
    profile: Estimate | None


@dataclass(frozen=True)
class Aggregate:
    """Some groups over all environments in which all of them have scores.

    unknown: those of the environments that no reference score is known of; only `Row.better` counts them.
    thresholds: normalised scores [T] of the profiles.
    """

    environments: Sequence[str]
    unknown: Sequence[str]
    thresholds: np.ndarray
    rows: Sequence[Row]


def aggregate(table: ScoreTable, *, order: Callable[[str], bool]) -> list[Aggregate]:
    """Return an aggregate for every set of groups that an environment has, over all environments that have it.

    A group alone has one only if it is in no other set. `order` puts the least label of a set first.
    """
    by_env = {env: [label for label, scores in groups.items() if scores] for env, groups in table.items()}
    sets = {frozenset(labels): labels for labels in by_env.values() if labels}
    return [
        _over(table, [env for env, own in by_env.items() if key <= set(own)], sorted(labels, key=order))
        for key, labels in sets.items()
        if len(key) > 1 or not any(key < other for other in sets)
    ]


def _over(table: ScoreTable, environments: Sequence[str], labels: Sequence[str]) -> Aggregate:
    scores = {label: [np.array(table[env][label]) for env in environments] for label in labels}
    known = [env for env in environments if normalized(env, 0.0) is not None]
    scaled = {
        label: [np.array([normalized(env, score) for score in table[env][label]], dtype=float) for env in known]
        for label in labels
    }
    thresholds = _thresholds(scaled) if known else np.empty(0)
    rows = []
    for label in labels:
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        first = scores[labels[0]]
        better = None if label == labels[0] else bootstrap(probability_of_improvement, scores[label], first, rng=rng)
        mean = bootstrap(interquartile_mean, scaled[label], rng=rng) if known else None
        profile = partial(performance_profile, thresholds=thresholds)
        rows.append(Row(label, mean, better, bootstrap(profile, scaled[label], rng=rng) if known else None))
    return Aggregate(environments, [env for env in environments if env not in known], thresholds, rows)


def _thresholds(scaled: Mapping[str, Scores]) -> np.ndarray:
    """Return normalised scores, evenly spaced, from 0 or the lowest score to the highest, with a margin."""
    every = np.concatenate([task for tasks in scaled.values() for task in tasks])
    low, high = min(0.0, float(every.min())), max(0.01, float(every.max()))
    margin = 0.05 * (high - low)
    return np.linspace(low - margin if low < 0 else 0.0, high + margin, PROFILE_POINTS)
