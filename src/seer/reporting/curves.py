"""Read run folders and group them into the curves of pictures and reports."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seer.agents.registry import agent_label
from seer.core.freeze_rules import parse_freeze_at
from seer.errors import SettingError
from seer.runs.folder import CHANGEABLE, METRICS_FILE, Record, RunFolder, is_number, read_metrics, settings_of
from seer.runs.snapshots import source_name

XAxis = Literal["steps", "flops", "seconds"]

COLUMNS: dict[XAxis, str] = {"steps": "step", "flops": "flops", "seconds": "wall_seconds"}
DRAWN = {
    "eval": (*COLUMNS.values(), "mean", "std"), "episode": (*COLUMNS.values(), "episode_return"),
    "freeze": tuple(COLUMNS.values()),
}  # fmt: skip
# Settings that don't set curves apart: the picture says them elsewhere, or learning doesn't depend on them.
UNCOMPARED = CHANGEABLE | {"env", "agent", "freeze.at", "seed", "log_every"}
OTHER_RUNS = ("freeze.agent_from", "freeze.encoder_from")
"""Settings that name a run."""


@dataclass(frozen=True, eq=False)  # by identity, as a key
class Run:
    """The settings and records of one run folder."""

    folder: Path
    settings: Mapping[str, Any]  # by dotted name
    records: Sequence[Record]
    variant: str | None = None  # its sweep's name for it, where its settings have no one name in all environments

    @property
    def label(self) -> str:
        """Name it for a reader: as its sweep does, or by its settings."""
        return self.variant or label(self.settings)

    def of_kind(self, kind: str) -> list[Record]:
        """Return its records of one kind, oldest first."""
        return [record for record in self.records if record["kind"] == kind]


@dataclass(frozen=True)
class Group:
    """One curve: the runs of one setting in one environment, a seed each."""

    environment: str
    label: str
    runs: Sequence[Run]


@dataclass(frozen=True)
class Curve:
    """Scores of a group at its E evaluations: x [E], mean [E] and standard deviation [E]."""

    x: np.ndarray
    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Freezes:
    """The freezes of a group at one step, at `x` on the axis (the mean, where seeds reached it at other times)."""

    x: float
    runs: Sequence[Run]


def read_run(folder: Path) -> Run:
    """Return the settings and records of one run folder; SettingError where it is no run, or not evaluated yet."""
    settings = settings_of(RunFolder.open(folder).config)
    kinds = {"env": str, "agent": str, "seed": int, "freeze.at": str}
    if missing := kinds.keys() - settings.keys():
        raise SettingError(f"{folder}/config.json lacks {', '.join(sorted(missing))}: leave that run out")
    wrong = [name for name, kind in kinds.items() if not isinstance(settings[name], kind)]
    try:
        parse_freeze_at(settings["freeze.at"])
    except SettingError:
        wrong = wrong or ["freeze.at"]
    if wrong:
        raise SettingError(f"{folder}/config.json is damaged ({', '.join(wrong)}): leave that run out")
    run = Run(folder, settings, read_metrics(folder))
    for kind, drawn in DRAWN.items():
        for record in run.of_kind(kind):
            if lacks := [name for name in drawn if not is_number(record.get(name))]:
                damage = f"an {kind!r} record lacks {', '.join(lacks)}"
                raise SettingError(f"{folder / METRICS_FILE} is damaged: {damage}")
    if not run.of_kind("eval"):
        raise SettingError(f"{folder} holds no evaluation yet: leave it out, or let it train to --eval-every")
    return run


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs that differ in the seed alone, `by_environment`; SettingError where two have the same seed too.

    Groups of one label add the settings that set them apart in any of the environments.
    """
    named: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        named.setdefault((run.settings["env"], run.label), []).append(run)
    shared = _shared_sources(runs)
    differing: dict[str, list[str]] = {}  # in any environment: a group is called the same in all of them
    for (_, name), members in named.items():
        differing.setdefault(name, []).extend(_differing(members, UNCOMPARED, shared))
    groups: dict[tuple[str, str], dict[int, Run]] = {}  # by seed
    for (environment, name), members in named.items():
        for run in members:
            same = groups.setdefault((environment, name + _difference(run, differing[name], shared)), {})
            if (twin := same.setdefault(run.settings["seed"], run)) is not run:
                raise SettingError(f"{twin.folder} and {run.folder} have the same settings and seed: leave one out")
    return by_environment([Group(*name, list(same.values())) for name, same in groups.items()])


def by_environment(groups: Sequence[Group]) -> list[Group]:
    """Return the groups environment by environment, both in the order in which they first come."""
    environments = list(dict.fromkeys(group.environment for group in groups))
    return sorted(groups, key=lambda group: environments.index(group.environment))


def label(settings: Mapping[str, Any]) -> str:
    """Name these settings for a reader: agent, when its encoder was frozen, and what it began with."""
    agent, choice = agent_label(settings["agent"]), parse_freeze_at(settings["freeze.at"])
    parts = [f"{agent}{' + SEER' * (not choice.is_never)}"]
    if choice.step != 0:
        parts.append(str(choice))
    if settings.get("freeze.agent_from") is not None:
        parts.append("from another run")
    elif settings.get("freeze.encoder_factory") is not None:
        parts.append("your own encoder")
    elif choice.step == 0 or settings.get("freeze.encoder_from") is not None:
        parts.append("another run's encoder")
    return ", ".join(parts)


def curve(group: Group, x: XAxis) -> Curve:
    """Return mean and sample standard deviation over seeds, at the steps at which all of them were evaluated; of a
    single run, over its evaluation episodes, as recorded. SettingError where the seeds have no such step.
    """
    by_step = [{record["step"]: record for record in run.of_kind("eval")} for run in group.runs]
    steps = sorted(set.intersection(*(set(records) for records in by_step)))
    if not steps:
        raise SettingError(f"the seeds of {group.label!r} were never evaluated at the same step: plot them one by one")
    xs, means, stds = (
        np.array([[records[step][name] for step in steps] for records in by_step], dtype=float)
        for name in (COLUMNS[x], "mean", "std")
    )
    std = means.std(axis=0, ddof=1) if len(group.runs) > 1 else stds[0]
    return Curve(xs.mean(axis=0), means.mean(axis=0), std)


def differing_settings(runs: Sequence[Run], *, ignoring: Set[str] = UNCOMPARED) -> list[str]:
    """Return the settings that set these runs apart; one that a run of an earlier version doesn't name is none."""
    return _differing(runs, ignoring, _shared_sources(runs))


def _differing(runs: Sequence[Run], ignoring: Set[str], shared: Set[str]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in ignoring)
    values = {name: {json.dumps(_value(run, name, shared)) for run in runs if name in run.settings} for name in names}
    return [name for name in names if len(values[name]) > 1]


def _shared_sources(runs: Sequence[Run]) -> set[str]:
    """Return the names of runs with which runs of several seeds began."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        for name in OTHER_RUNS:
            if isinstance(source := run.settings.get(name), str):
                seeds.setdefault(source_name(source), set()).add(run.settings["seed"])
    return {source for source, own in seeds.items() if len(own) > 1}


def _value(run: Run, name: str, shared: Set[str]) -> Any:
    """Return a setting; of a run with which it began the name, without the seed unless it is `shared` by seeds.

    Otherwise seeds that each began with a run of their own would be told apart by it.
    """
    value = run.settings.get(name)
    if name not in OTHER_RUNS or not isinstance(value, str):
        return value
    if (source := source_name(value)) in shared:
        return source
    begun, *within = source.split("/")
    return "/".join([begun.removesuffix(f"-{run.settings['seed']}"), *within])


def _difference(run: Run, names: Sequence[str], shared: Set[str]) -> str:
    """Say what a run's settings of these names are, ready to follow a label."""
    values = {name.rpartition(".")[2].replace("_", " "): _value(run, name, shared) for name in names}
    return "".join(f", {name} {value}" for name, value in values.items() if value is not None)


def freezes(group: Group, x: XAxis) -> list[Freezes]:
    """Return the freezes of a group, first to last, those of a step together; a run that never froze is in none."""
    by_step: dict[int, dict[Run, float]] = {}
    for run in group.runs:
        for record in run.of_kind("freeze"):
            by_step.setdefault(record["step"], {})[run] = record[COLUMNS[x]]
    return [Freezes(float(np.mean(list(found.values()))), list(found)) for _, found in sorted(by_step.items())]


def why_frozen(run: Run) -> str:
    """Tell why a run froze when it did, or hasn't, in a few words; empty unless a rule decided it."""
    for decision in run.of_kind("freeze"):
        return _account(decision) if decision.get("mode") not in ("step", None) else ""
    probes = run.of_kind("probe")
    return _account(probes[-1] | {"similarity": probes[-1].get("cka")}) if probes else ""


def _account(decision: Mapping[str, Any]) -> str:
    similarity = decision.get("similarity")
    return str(decision.get("reason", "")) + (f" (similarity {similarity:.3f})" if is_number(similarity) else "")
