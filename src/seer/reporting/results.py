"""Sum up many runs: scores by environment and group, with the runs that are missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seer.core.freeze_rules import parse_freeze_at
from seer.errors import SettingError
from seer.reporting.aggregates import Aggregate, aggregate
from seer.reporting.curves import Group, Run, XAxis, group_runs
from seer.reporting.folders import read_folders
from seer.reporting.page import Section
from seer.reporting.statistics import Spread, score_at, spread
from seer.runs.folder import read_summary


@dataclass(frozen=True)
class Column:
    """One table: scores of some groups (labels; empty: all) after `flops` multiply-adds, or at the end of each run.

    `equal_flops`: at the FLOPs that the cheapest finished run of the environment had spent. `published` is by
    environment and label; `published_at` says where in the paper's runs that was.
    """

    title: str
    groups: tuple[str, ...] = ()
    flops: float | None = None
    equal_flops: bool = False
    published: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    published_at: str = ""


COLUMNS = [Column("score at the end"), Column("score at equal FLOPs", equal_flops=True)]


@dataclass(frozen=True)
class Results:
    """Groups of runs, and the text and pictures of a page about them.

    missing: run name -> why it isn't among the groups.
    failures: name of an analysis -> why it failed.
    differences: from the paper: the setting, here, and in the paper.
    """

    title: str
    differences: Sequence[tuple[str, str, str]]
    groups: Sequence[Group]
    missing: Mapping[str, str]
    axes: Sequence[XAxis]
    columns: Sequence[Column]
    illustrations: Sequence[Section] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_folders(cls, paths: Sequence[Path], *, title: str) -> "Results":
        """Return the results of run folders and folders of sweeps and exhibits, each group labelled by its settings.

        SettingError where a path is neither, or holds nothing to show.
        """
        runs, missing = read_folders(paths)
        if not runs and not missing:
            raise SettingError("no run to report: give folders of runs or of sweeps, seer report DIR...")
        return cls(title, [], group_runs(runs), missing, ("steps", "flops", "seconds"), COLUMNS)

    @property
    def envs(self) -> list[str]:
        return list(dict.fromkeys(group.environment for group in self.groups))

    @property
    def labels(self) -> list[str]:
        """Return the labels in the order of the groups; a label looks the same in every chart."""
        return list(dict.fromkeys(group.label for group in self.groups))

    def in_column(self, column: Column) -> list[Group]:
        """Return the groups of one table, in the table's order."""
        if not column.groups:
            return list(self.groups)
        return [group for label in column.groups for group in self.groups if group.label == label]

    def scores(self, group: Group, column: Column) -> list[float]:
        """Return a score per run of the group; a run that never reached the budget has none."""
        budget = column.flops
        if column.equal_flops:
            rivals = [each for each in self.in_column(column) if each.environment == group.environment]
            runs = [run for each in rivals for run in each.runs]
            finished = [run for run in runs if read_summary(run.folder) is not None]
            budget = min(run.of_kind("eval")[-1]["flops"] for run in finished or runs)
        scores = [_score(run, budget) for run in group.runs]
        return [score for score in scores if score is not None]

    def spread(self, group: Group, column: Column) -> Spread | None:
        """Return mean and standard deviation of `scores`, if there are any."""
        scores = self.scores(group, column)
        return spread(scores) if scores else None

    def aggregates(self, column: Column) -> list[Aggregate]:
        """Compare the groups over environments they share; one that never freezes comes first."""
        table: dict[str, dict[str, list[float]]] = {}
        for group in self.in_column(column):
            table.setdefault(group.environment, {})[group.label] = self.scores(group, column)
        runs = [(group.label, run) for group in self.groups for run in group.runs]
        freezing = {label for label, run in runs if not parse_freeze_at(run.settings["freeze.at"]).is_never}
        return aggregate(table, order=lambda label: label in freezing)


def _score(run: Run, budget: float | None) -> float | None:
    evaluations = run.of_kind("eval")
    if budget is None:
        return float(evaluations[-1]["mean"])
    spent, scores = ([each[name] for each in evaluations] for name in ("flops", "mean"))
    return score_at(budget, spent=spent, scores=scores)
