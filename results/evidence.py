"""Read what an exhibit's folder holds of its runs: evaluations, costs and settings, as the report reads run folders.

evaluations.csv   one row per evaluation of every run
runs.csv          one row per run: when it froze, what it cost
settings.json     the settings of all runs, those that they share once
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seer.errors import SettingError
from seer.reporting.curves import Run
from seer.reporting.statistics import score_at
from seer.sweeps.grid import short_name

RESULTS = Path(__file__).parent
EVALUATIONS, RUNS, SETTINGS = "evaluations.csv", "runs.csv", "settings.json"
LATE = 0.6
"""A score over steps is the mean of the evaluations from this share of a run on, as one of ten games is noisy."""

Row = dict[str, str]


def folders() -> list[str]:
    """Return the names of the exhibits that hold runs."""
    return sorted(file.parent.name for file in RESULTS.glob(f"*/{RUNS}"))


def read_table(file: Path) -> list[Row]:
    """Return the rows of a CSV file by column; none where there is no file."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of each run by dotted name; none where there is no file."""
    file = folder / SETTINGS
    if not file.exists():
        return {}
    stored = json.loads(file.read_text())
    return {name: stored["common"] | own for name, own in stored["runs"].items()}


def table_of(file: str) -> list[Row]:
    """Return the rows of a CSV file, named from the folder of results on."""
    return read_table(RESULTS / file)


def costs(exhibit: str) -> dict[str, Row]:
    """Return the rows of runs.csv by run; what isn't known of a run is empty."""
    return {row["run"]: row for row in table_of(f"{exhibit}/{RUNS}")}


def runs(exhibit: str) -> dict[str, Run]:
    """Return the runs of an exhibit by name, with their evaluations and freezes as records.

    A run's variant is its name without environment and seed: "rainbow-seer" of Alien-rainbow-seer-0. SettingError where
    a table lacks a run.
    """
    folder = RESULTS / exhibit
    settings = read_settings(folder)
    records: dict[str, list[dict[str, Any]]] = {}
    known = costs(exhibit)
    for row in known.values():
        if row["frozen_at"]:
            moment = {"step": int(row["frozen_at"]), "flops": int(row["frozen_at_flops"])}
            seconds = {"wall_seconds": float(row["frozen_at_seconds"])}
            records[row["run"]] = [{"kind": "freeze", **moment, **seconds}]
    for row in read_table(folder / EVALUATIONS):
        moment = {"step": int(row["step"]), "flops": int(row["flops"])}
        seconds = {"wall_seconds": float(row["seconds"])}
        score = {"mean": float(row["mean"]), "std": float(row["std"]), "episodes": int(row["games"])}
        records.setdefault(row["run"], []).append({"kind": "eval", **moment, **seconds, **score})
    for name in records:
        if name not in settings or name not in known:
            raise SettingError(f"{SETTINGS} or {RUNS} of {exhibit} lacks {name}: add that run by results/add.py")
    return {
        name: Run(folder / name, settings[name], own, variant_of(name, settings[name])) for name, own in records.items()
    }


def variant_of(name: str, settings: dict[str, Any]) -> str:
    """Return a run's name without its environment and its seed."""
    return name.removeprefix(f"{short_name(settings['env'])}-").removesuffix(f"-{settings['seed']}")


def frozen_at(run: Run) -> int | None:
    """Return the step at which a run's encoder was frozen, if it was."""
    return next((record["step"] for record in run.of_kind("freeze")), None)


def late_score(run: Run, length: int) -> float | None:
    """Return the mean evaluation of the last part of the first `length` steps; None of a run that didn't get there."""
    evaluations = run.of_kind("eval")
    if evaluations[-1]["step"] < length:
        return None
    late = [float(record["mean"]) for record in evaluations if LATE * length <= record["step"] <= length]
    return sum(late) / len(late)


def last_score(run: Run, length: int) -> float | None:
    """Return the evaluation at step `length`, if there is one."""
    return next((float(record["mean"]) for record in run.of_kind("eval") if record["step"] == length), None)


def score_at_flops(run: Run, budget: float) -> float | None:
    """Return the score when the run had spent `budget` multiply-adds, if it did."""
    evaluations = run.of_kind("eval")
    spent, scores = ([record[name] for record in evaluations] for name in ("flops", "mean"))
    return score_at(budget, spent=spent, scores=scores)


def late_score_at_flops(run: Run, budget: float) -> float | None:
    """Return the mean evaluation of the last part of `budget` multiply-adds; None of a run that didn't spend them.

    The last evaluation is the one at which they were spent.
    """
    evaluations = run.of_kind("eval")
    spent = next((place for place, record in enumerate(evaluations) if record["flops"] >= budget), None)
    if spent is None:
        return None
    late = [float(record["mean"]) for record in evaluations[: spent + 1] if record["flops"] >= LATE * budget]
    return sum(late) / len(late)


def at_flops(run: Run, budget: float, name: str) -> float:
    """Return the step, or the `wall_seconds`, at which a run had spent `budget` multiply-adds."""
    evaluations = run.of_kind("eval")
    return float(np.interp(budget, [each["flops"] for each in evaluations], [each[name] for each in evaluations]))


def length(run: Run) -> int:
    """Return the step of a run's last evaluation."""
    return int(run.of_kind("eval")[-1]["step"])


def digest(exhibits: Sequence[str]) -> str:
    """Return a checksum of all figures of some exhibits, "" for the tables of none."""
    files = (file for name in exhibits for file in sorted((RESULTS / name).glob("*.csv")))
    content = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
    return hashlib.sha256(content).hexdigest()[:12]
