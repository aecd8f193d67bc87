"""Write an exhibit's figures and page, with its analyses, from the runs that have finished."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from seer.paper.analyses import analyze
from seer.paper.differences import Row
from seer.paper.exhibits import Exhibit
from seer.reporting.curves import Group, Run, by_environment
from seer.reporting.folders import finished
from seer.reporting.page import Section
from seer.reporting.plots import plot_groups
from seer.reporting.report import write_page
from seer.reporting.results import COLUMNS, Column, Results
from seer.sweeps.manifest import Manifest
from seer.sweeps.trial import Entry


def write_results(
    exhibit: Exhibit, trials: Sequence[Entry], *, root: Path, rows: Sequence[Row], fraction: float
) -> bool:
    """Write figures and page of an exhibit into `root`; return whether every analysis succeeded."""
    results = exhibit_results(exhibit, trials, root=root, rows=rows, fraction=fraction)
    runs = {run.folder.name: run for group in results.groups for run in group.runs}
    illustrations: list[Section] = []
    failures: dict[str, str] = {}
    for kind in exhibit.analyses if runs else ():
        shown, failed = analyze(kind, runs, root / exhibit.name)
        illustrations += shown
        failures |= failed
    results = dataclasses.replace(results, illustrations=illustrations, failures=failures)
    for x in exhibit.axes if results.groups else ():
        for suffix in (".png", ".svg"):
            print(f"wrote {plot_groups(results.groups, x=x, out=root / f'{exhibit.name}-{x}{suffix}')}")
    print(f"wrote {write_page(results, out=root / f'{exhibit.name}.html')}")
    return not failures


def exhibit_results(
    exhibit: Exhibit, trials: Sequence[Entry], *, root: Path, rows: Sequence[Row], fraction: float
) -> Results:
    """Read the finished runs of an exhibit in the folder `root`; FLOPs budgets are `fraction` of the paper's."""
    file = root / f"{exhibit.name}.json"
    failures = Manifest.read(file).failures if file.is_file() else {}
    found, missing = finished(trials, root, failures)
    members: dict[tuple[str, str], list[Run]] = {}
    variants = exhibit.variants
    for trial in trials:
        if trial.name in found and trial.variant in variants:  # a pretraining isn't shown
            members.setdefault((trial.env, variants[trial.variant].label), []).append(found[trial.name])
    groups = by_environment([Group(env, label, runs) for (env, label), runs in members.items()])
    columns = [_scaled(column, fraction) for column in exhibit.columns] or COLUMNS
    return Results(f"{exhibit.name}: {exhibit.title}", rows, groups, missing, exhibit.axes, columns)


def _scaled(column: Column, fraction: float) -> Column:
    """Return a column of the paper, with its FLOPs as a share of the paper's."""
    if column.flops is None:
        return dataclasses.replace(column, title="score at the last step")
    flops = column.flops * fraction
    return dataclasses.replace(column, title=f"score at {flops:.3g} FLOPs", flops=flops)
