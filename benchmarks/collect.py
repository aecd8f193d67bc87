"""Collect the evaluations of runs in one small table, and their records compressed: what `results/` keeps of them.

    python benchmarks/collect.py FOLDER RUN...        # writes FOLDER/evaluations.csv and FOLDER/records/RUN.jsonl.gz

A row is one evaluation of one run: run, env, agent, seed, freeze (the setting), step, flops, seconds, mean, std, games.
Rows of a run that is there already are replaced. FOLDER/settings.json has the settings, those of all runs once.
"""

import argparse
import csv
import gzip
import json
from pathlib import Path
from typing import Any

from seer.runs.folder import METRICS_FILE, RunFolder, flatten, read_metrics

COLUMNS = ("run", "env", "agent", "seed", "freeze", "step", "flops", "seconds", "mean", "std", "games")


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Return the rows of one run folder."""
    settings = dict(flatten(RunFolder.open(run).config))
    common = {
        "run": run.name, "env": settings["env"], "agent": settings["agent"], "seed": settings["seed"],
        "freeze": settings["freeze.at"],
    }  # fmt: skip
    return [
        common
        | {"step": each["step"], "flops": each["flops"], "seconds": round(each["wall_seconds"], 1)}
        | {"mean": round(each["mean"], 3), "std": round(each["std"], 3), "games": each["episodes"]}
        for each in read_metrics(run)
        if each["kind"] == "eval"
    ]


def write_table(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows sorted by run and step, in place of those of the same runs."""
    new = {row["run"] for row in rows}
    if file.exists():
        with file.open(newline="") as lines:
            rows = rows + [row for row in csv.DictReader(lines) if row["run"] not in new]
    with file.open("w", newline="") as lines:
        table = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(sorted(rows, key=lambda row: (row["run"], int(row["step"]))))


def write_settings(file: Path, runs: list[Path]) -> None:
    """Write what runs have in common, and what each has of its own."""
    settings = {run.name: dict(flatten(RunFolder.open(run).config)) for run in runs}
    if file.exists():
        earlier = json.loads(file.read_text())
        settings = {name: earlier["common"] | own for name, own in earlier["runs"].items()} | settings
    for each in settings.values():
        each.pop("out", None)
    first = next(iter(settings.values()))
    common = {
        name: value for name, value in first.items() if all(each.get(name) == value for each in settings.values())
    }
    own = {run: {n: v for n, v in each.items() if n not in common} for run, each in sorted(settings.items())}
    file.write_text(json.dumps({"common": common, "runs": own}, indent=1) + "\n")


def main() -> None:
    """Collect the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    records = options.folder / "records"
    records.mkdir(parents=True, exist_ok=True)
    write_table(options.folder / "evaluations.csv", [row for run in options.runs for row in rows_of(run)])
    write_settings(options.folder / "settings.json", options.runs)
    for run in options.runs:
        content = gzip.compress((run / METRICS_FILE).read_bytes(), mtime=0)  # the same bytes each time
        (records / f"{run.name}.jsonl.gz").write_bytes(content)


if __name__ == "__main__":
    main()
