"""What many runs amount to: scores by environment and arm, what is missing, what it all cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seer.errors import SettingError
from seer.experiments.paper import Exhibit, Measure
from seer.experiments.plots import Arm, Run, XAxis, group, read_run
from seer.experiments.reference_scores import normalized
from seer.experiments.statistics import (
    BOOTSTRAP_SEED,
    Estimate,
    Spread,
    bootstrap,
    interquartile_mean,
    probability_of_improvement,
    score_at,
    spread,
)
from seer.experiments.trials import MANIFEST_FILE, Manifest, Trial
from seer.training.run import SUMMARY_FILE, read_summary


@dataclass(frozen=True)
class Column:
    """One table: scores of some arms (labels; empty: all) after `flops` multiply-adds, or at the end of each run.

    `equal_flops`: at the FLOPs that the cheapest run of the environment had spent at its end. `published` is by
    environment and label; `published_at` says where in the paper's runs that was.
    """

    title: str
    arms: tuple[str, ...] = ()
    flops: float | None = None
    equal_flops: bool = False
    published: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    published_at: str = ""


@dataclass(frozen=True)
class Results:
    """Runs grouped into arms, and what a page says about them.

    missing: run name -> why it isn't among the arms.
    statement: what a reader has to know, one sentence an item.
    """

    title: str
    statement: Sequence[str]
    arms: Sequence[Arm]
    missing: Mapping[str, str]
    axes: Sequence[XAxis]
    columns: Sequence[Column]

    @classmethod
    def of_folders(cls, paths: Sequence[Path], *, title: str) -> "Results":
        """Of run folders and folders of sweeps, each arm labelled by its settings.

        Raises:
            SettingError: a path is neither, or holds nothing to show.
        """
        runs: list[Run] = []
        missing: dict[str, str] = {}
        for path in dict.fromkeys(paths):
            manifest = path / MANIFEST_FILE
            if not manifest.is_file():
                runs.append(read_run(path))
                continue
            record = Manifest.read(manifest)
            found, lost = _finished(record.trials, path, record.failures)
            runs += found.values()
            missing |= lost
        if not runs and not missing:
            raise SettingError("no run to report: give folders of runs or of sweeps, seer report DIR...")
        columns = [Column("score at the end"), Column("score at equal FLOPs", equal_flops=True)]
        return cls(title, [], group(runs), missing, ("steps", "flops", "seconds"), columns)

    @classmethod
    def of_exhibit(
        cls, exhibit: Exhibit, trials: Sequence[Trial], *, root: Path, statement: Sequence[str], fraction: float
    ) -> "Results":
        """Of an exhibit's trials in the folder `root`, whose FLOPs budgets are `fraction` of the paper's."""
        file = root / f"{exhibit.name}.json"
        failures = Manifest.read(file).failures if file.is_file() else {}
        found, missing = _finished(trials, root, failures)
        members: dict[tuple[str, str], list[Run]] = {}
        labels = {arm.name: arm.label for comparison in exhibit.comparisons for arm in comparison.arms}
        for trial in trials:
            if trial.name in found and trial.arm in labels:  # a pretraining isn't shown
                members.setdefault((trial.env, labels[trial.arm]), []).append(found[trial.name])
        arms = [Arm(env, label, runs) for (env, label), runs in members.items()]
        columns = [_column(measure, labels, fraction) for measure in exhibit.measures]
        columns = columns or [Column("score at the end"), Column("score at equal FLOPs", equal_flops=True)]
        return cls(f"{exhibit.name}: {exhibit.title}", statement, arms, missing, exhibit.axes, columns)

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
            budget = min(run.of_kind("eval")[-1]["flops"] for each in rivals for run in each.runs)
        scores = [_score(run, budget) for run in arm.runs]
        return [score for score in scores if score is not None]

    def spread(self, arm: Arm, column: Column) -> Spread | None:
        """Mean and standard deviation of `scores`, if there are any."""
        scores = self.scores(arm, column)
        return spread(scores) if scores else None

    def normalized(self, label: str, column: Column) -> list[np.ndarray] | None:
        """Normalised scores of an arm, [R] per environment; None unless every environment has some."""
        arms = {arm.environment: arm for arm in self.in_column(column) if arm.label == label}
        tasks = []
        for env in dict.fromkeys(arm.environment for arm in self.in_column(column)):
            scores = [normalized(env, score) for score in self.scores(arms[env], column)] if env in arms else []
            known = [score for score in scores if score is not None]
            if not known:
                return None
            tasks.append(np.array(known))
        return tasks or None

    def aggregates(self, column: Column) -> list[tuple[str, Estimate, Estimate | None]]:
        """By label: interquartile mean of normalised scores, and probability of improvement over the first row's arm.

        The first row is an arm that never freezes, if there is one.
        """
        labels = list(dict.fromkeys(arm.label for arm in self.in_column(column)))
        labels.sort(key=lambda label: not self._never_freezes(label))
        known = {label: tasks for label in labels if (tasks := self.normalized(label, column)) is not None}
        rows = []
        for label, tasks in known.items():
            rng = np.random.default_rng(BOOTSTRAP_SEED)
            first = next(iter(known.values()))
            better = None if tasks is first else bootstrap(probability_of_improvement, tasks, first, rng=rng)
            rows.append((label, bootstrap(interquartile_mean, tasks, rng=rng), better))
        return rows

    def _never_freezes(self, label: str) -> bool:
        return all(run.settings["freeze.at"] == "never" for arm in self.arms if arm.label == label for run in arm.runs)


def summary_of(run: Run) -> dict[str, Any] | None:
    """The run's summary, once it has finished."""
    return read_summary(run.folder)


def _finished(
    trials: Sequence[Trial], root: Path, failures: Mapping[str, str]
) -> tuple[dict[str, Run], dict[str, str]]:
    found, missing = {}, {}
    for trial in trials:
        folder = trial.folder(root)
        if (folder / SUMMARY_FILE).exists():
            found[trial.name] = read_run(folder)
        else:
            missing[trial.name] = failures.get(trial.name, "not finished" if folder.exists() else "not started")
    return found, missing


def _column(measure: Measure, labels: Mapping[str, str], fraction: float) -> Column:
    published = {
        (env, labels[name]): score
        for env, scores in measure.published.items()
        for name, score in zip(measure.arms, scores, strict=True)
    }
    flops = None if measure.flops is None else measure.flops * fraction
    title = "score at the last step" if flops is None else f"score at {flops:.3g} FLOPs"
    names = tuple(labels[name] for name in measure.arms if name in labels)
    return Column(title, names, flops=flops, published=published, published_at=measure.title)


def _score(run: Run, budget: float | None) -> float | None:
    evaluations = run.of_kind("eval")
    if budget is None:
        return float(evaluations[-1]["mean"])
    spent, scores = ([each[name] for each in evaluations] for name in ("flops", "mean"))
    return score_at(budget, spent=spent, scores=scores)
