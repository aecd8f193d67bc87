"""What many runs amount to: scores by environment and arm, what is missing, what it all cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seer.errors import SettingError
from seer.reporting.aggregates import Aggregate, aggregate
from seer.reporting.curves import Arm, Run, XAxis, group
from seer.reporting.folders import read_folders
from seer.reporting.statistics import Spread, score_at, spread
from seer.training.run import read_summary


@dataclass(frozen=True)
class Column:
    """One table: scores of some arms (labels; empty: all) after `flops` multiply-adds, or at the end of each run.

    `equal_flops`: at the FLOPs that the cheapest finished run of the environment had spent. `published` is by
    environment and label; `published_at` says where in the paper's runs that was.
    """

    title: str
    arms: tuple[str, ...] = ()
    flops: float | None = None
    equal_flops: bool = False
    published: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    published_at: str = ""


@dataclass(frozen=True)
class Illustration:
    """A picture (PNG) of the page, with what it shows, and a table below it if `head` names its columns."""

    title: str
    caption: str
    picture: Path
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Results:
    """Runs grouped into arms, and what a page says about them.

    missing: run name -> why it isn't among the arms.
    failures: name of an analysis -> why it failed.
    statement: what a reader has to know, one sentence an item.
    """

    title: str
    statement: Sequence[str]
    arms: Sequence[Arm]
    missing: Mapping[str, str]
    axes: Sequence[XAxis]
    columns: Sequence[Column]
    illustrations: Sequence[Illustration] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_folders(cls, paths: Sequence[Path], *, title: str) -> "Results":
        """Of run folders and folders of sweeps and exhibits, each arm labelled by its settings.

        Raises:
            SettingError: a path is neither, or holds nothing to show.
        """
        runs, missing = read_folders(paths)
        if not runs and not missing:
            raise SettingError("no run to report: give folders of runs or of sweeps, seer report DIR...")
        columns = [Column("score at the end"), Column("score at equal FLOPs", equal_flops=True)]
        return cls(title, [], group(runs), missing, ("steps", "flops", "seconds"), columns)

    @property
    def envs(self) -> list[str]:
        """Environments in the order of the arms."""
        return list(dict.fromkeys(arm.environment for arm in self.arms))

    def in_column(self, column: Column) -> list[Arm]:
        """The arms of one table, in the table's order."""
        if not column.arms:
            return list(self.arms)
        return [arm for label in column.arms for arm in self.arms if arm.label == label]

    def scores(self, arm: Arm, column: Column) -> list[float]:
        """One score per run of the arm; a run that never reached the budget has none."""
        budget = column.flops
        if column.equal_flops:
            rivals = [each for each in self.in_column(column) if each.environment == arm.environment]
            runs = [run for each in rivals for run in each.runs]
            finished = [run for run in runs if summary_of(run) is not None]
            budget = min(run.of_kind("eval")[-1]["flops"] for run in finished or runs)
        scores = [_score(run, budget) for run in arm.runs]
        return [score for score in scores if score is not None]

    def spread(self, arm: Arm, column: Column) -> Spread | None:
        """Mean and standard deviation of `scores`, if there are any."""
        scores = self.scores(arm, column)
        return spread(scores) if scores else None

    def aggregates(self, column: Column) -> list[Aggregate]:
        """What the arms amount to over environments they share; one that never freezes comes first."""
        table: dict[str, dict[str, list[float]]] = {}
        for arm in self.in_column(column):
            table.setdefault(arm.environment, {})[arm.label] = self.scores(arm, column)
        return aggregate(table, order=lambda label: not self._never_freezes(label))

    def _never_freezes(self, label: str) -> bool:
        return all(run.settings["freeze.at"] == "never" for arm in self.arms if arm.label == label for run in arm.runs)


def summary_of(run: Run) -> dict[str, Any] | None:
    """The run's summary, once it has finished."""
    return read_summary(run.folder)


def _score(run: Run, budget: float | None) -> float | None:
    evaluations = run.of_kind("eval")
    if budget is None:
        return float(evaluations[-1]["mean"])
    spent, scores = ([each[name] for each in evaluations] for name in ("flops", "mean"))
    return score_at(budget, spent=spent, scores=scores)
