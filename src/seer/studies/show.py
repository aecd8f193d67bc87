"""What an exhibit comes to: its analyses, its figures and its page, of the runs that have finished."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from seer.experiments.paper import Exhibit
from seer.experiments.plots import plot_arms
from seer.experiments.report import write_page
from seer.experiments.results import Illustration, Results
from seer.experiments.trials import Trial
from seer.studies.analyses import analyze


def show(exhibit: Exhibit, trials: Sequence[Trial], *, root: Path, statement: list[str], fraction: float) -> bool:
    """Write all of it into `root`; whether every analysis succeeded."""
    results = Results.of_exhibit(exhibit, trials, root=root, statement=statement, fraction=fraction)
    runs = {run.folder.name: run for arm in results.arms for run in arm.runs}
    illustrations: list[Illustration] = []
    failures: dict[str, str] = {}
    for kind in exhibit.analyses if runs else ():
        shown, failed = analyze(kind, runs, root / exhibit.name)
        illustrations += shown
        failures |= failed
    results = dataclasses.replace(results, illustrations=illustrations, failures=failures)
    if results.arms:
        for x in exhibit.axes:
            for suffix in (".png", ".svg"):
                print(f"wrote {plot_arms(results.arms, x=x, out=root / f'{exhibit.name}-{x}{suffix}')}")
    print(f"wrote {write_page(results, out=root / f'{exhibit.name}.html')}")
    return not failures
