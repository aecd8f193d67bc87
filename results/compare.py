"""Compare frozen with never frozen runs: scores in pairs of groups, statistics as the report makes them, in words."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evidence import frozen_at, length
from seer.reporting.aggregates import aggregate
from seer.reporting.curves import Run
from seer.reporting.statistics import BOOTSTRAP_SEED, Estimate, bootstrap, spread
from seer.sweeps.grid import short_name

FEW = 5
"""With fewer seeds the bootstrap's intervals are too narrow to say more than "in these seeds" (the paper has five)."""

Score = Callable[[Run], float | None]


@dataclass(frozen=True)
class Comparison:
    """Runs of one environment with and without a freeze, and the score by which they are compared."""

    env: str
    never: Sequence[Run]
    frozen: Sequence[Run]
    score: Score

    @property
    def game(self) -> str:
        return short_name(self.env)

    @property
    def scores(self) -> tuple[list[float], list[float]]:
        """Return the scores of the runs that have one, never frozen and frozen."""
        never, frozen = (
            [found for run in group if (found := self.score(run)) is not None] for group in (self.never, self.frozen)
        )
        return never, frozen

    @property
    def seeds(self) -> int:
        """Return the runs with a score, of the kind that has fewer."""
        return min(map(len, self.scores))

    @property
    def finished(self) -> "Comparison":
        """Return the comparison of the runs that have a score."""
        never, frozen = ([run for run in side if self.score(run) is not None] for side in (self.never, self.frozen))
        return Comparison(self.env, never, frozen, self.score)

    @property
    def steps(self) -> int:
        """Return the steps that all runs made."""
        return min(length(run) for run in (*self.never, *self.frozen))

    @property
    def seeds_text(self) -> str:
        """Return the numbers of runs with a score, never frozen and frozen, once if they are the same."""
        return " and ".join(str(count) for count in dict.fromkeys(map(len, self.scores)))

    @property
    def texts(self) -> tuple[str, str]:
        """Return mean ± standard deviation of both."""
        never, frozen = map(mean_and_deviation, self.scores)
        return never, frozen

    @property
    def difference(self) -> Estimate | None:
        """Return by what share the frozen runs' mean is above the others', with its bootstrap interval."""
        never, frozen = (np.array(scores) for scores in self.scores)
        if not self.seeds:
            return None
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        return bootstrap(lambda a, b: a[0].mean(-1) / b[0].mean(-1) - 1, [frozen], [never], rng=rng)

    @property
    def steps_of_freeze(self) -> str:
        """Return the step at which the encoders were frozen, or the first and the last."""
        steps = sorted({step for run in self.frozen if (step := frozen_at(run)) is not None})
        return " to ".join(f"{step:,}" for step in dict.fromkeys([*steps[:1], *steps[-1:]])) or "-"


def by_environment(never: Iterable[Run], frozen: Iterable[Run], score: Score) -> list[Comparison]:
    """Pair runs by environment; in one that only one side has, the other is empty."""
    sides: tuple[dict[str, list[Run]], dict[str, list[Run]]] = {}, {}
    for side, runs in zip(sides, (never, frozen), strict=True):
        for run in sorted(runs, key=lambda run: run.settings["seed"]):
            side.setdefault(run.settings["env"], []).append(run)
    return [
        Comparison(env, sides[0].get(env, []), sides[1].get(env, []), score) for env in sorted({*sides[0], *sides[1]})
    ]


def same_seeds(never: Iterable[Run], frozen: Sequence[Run]) -> list[Run]:
    """Return the never frozen runs whose environment and seed a frozen one has too."""
    wanted = {(run.settings["env"], run.settings["seed"]) for run in frozen}
    return [run for run in never if (run.settings["env"], run.settings["seed"]) in wanted]


@dataclass(frozen=True)
class Together:
    """All environments of some comparisons: interquartile means of normalised scores, probability of improvement.

    Where some have several seeds, those of one are `left_out`: the bootstrap can only draw that seed again and again,
    which would narrow the intervals.
    """

    never: Estimate | None
    frozen: Estimate | None
    better: Estimate
    seeds: tuple[int, int]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, comparisons: Sequence[Comparison]) -> "Together | None":
        """Return them over the environments that have scores of both; None where there is no such one."""
        complete = [each for each in comparisons if each.seeds]
        if not complete:
            return None
        counted = [each for each in complete if each.seeds > 1] or complete
        table = {each.env: dict(zip(("never", "frozen"), each.scores, strict=True)) for each in counted}
        (found,) = aggregate(table, order=lambda label: label == "frozen")
        never, frozen = found.rows
        assert frozen.better is not None
        seeds = [each.seeds for each in counted]
        left_out = tuple(each.game for each in complete if each not in counted)
        return cls(never.mean, frozen.mean, frozen.better, (min(seeds), max(seeds)), left_out)

    @property
    def verdict(self) -> str:
        """Say in words what the probability of improvement says."""
        least, most = self.seeds
        seeds = f"{least}" if least == most else f"{least} to {most}"
        if most == 1:
            return "one seed, which decides nothing"
        if self.better.low <= 0.5 <= self.better.high:
            return f"no difference that {seeds} seeds could show"
        way = "ahead" if self.better.value > 0.5 else "behind"
        return way if least >= FEW else f"{way} in these {seeds} seeds, too few to be sure"

    @property
    def improvement(self) -> str:
        """Return the probability of improvement with its interval, and which environments it leaves out."""
        return f"probability of improvement{self.without} {interval(self.better, '.2f')}"

    @property
    def without(self) -> str:
        """Return which environments are left out, ready to follow a noun; empty where none is."""
        return f" without {', '.join(self.left_out)} (one seed)" if self.left_out else ""

    @property
    def conclusion(self) -> str:
        """Return that probability and what it says; of single seeds it is 0 or 1, and says nothing."""
        return self.verdict if self.seeds[1] == 1 else f"{self.improvement}; {self.verdict}"

    @property
    def sentence(self) -> str:
        """Say what all environments amount to together."""
        if self.seeds[1] == 1:
            return f"Together: **{self.verdict}**."
        means = ""
        if self.never is not None and self.frozen is not None:
            means = (
                f"interquartile mean of normalised scores {interval(self.frozen, '.3f')} with the freeze and "
                f"{interval(self.never, '.3f')} without; "
            )
        improvement = f"probability of improvement {interval(self.better, '.2f')}"
        return f"Together{self.without}: {means}{improvement}: **{self.verdict}**."


def interval(estimate: Estimate, form: str) -> str:
    """Return an estimate with its 95% interval."""
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def change(estimate: Estimate | None, seeds: int) -> str:
    """Return a relative difference in percent, with its interval where there is more than one seed."""
    if estimate is None:
        return "-"
    value, low, high = (f"{round(100 * float(number)):+d}%" for number in (estimate.value, estimate.low, estimate.high))
    return value if seeds == 1 else f"{value} ({low} to {high})"


def flops(number: float) -> str:
    """Return multiply-adds as the paper writes them, such as 45e12."""
    return f"{number / 1e12:.3g}e12"


def mean_and_deviation(scores: Sequence[float]) -> str:
    """Return mean ± sample standard deviation in whole points; of one run its score."""
    if not scores:
        return "-"
    found = spread(scores)
    return f"{found.mean:,.0f}" if found.std is None else f"{found.mean:,.0f} ± {found.std:,.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
