"""Add runs to an exhibit: their evaluations, costs, settings and records; then bring tables and pictures up to date.

    python results/add.py EXHIBIT FOLDER...             # folders of runs, or of a sweep or `seer reproduce`
    python results/add.py table1 runs/paper-paper --suffix uniform     # Alien-rainbow-0 becomes Alien-rainbow-uniform-0

Of a run that is there already, later evaluations are added. One of the same name that has other settings or other
evaluations is refused. records/RUN.jsonl.gz has what the run recorded, of `train` at most 100 records.
"""

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import page
from evidence import EVALUATIONS, RESULTS, RUNS, SETTINGS, read_settings, read_table
from seer.errors import SettingError
from seer.reporting.curves import Run
from seer.reporting.folders import read_folders
from seer.runs.folder import CHANGEABLE, RunFolder, flatten, read_summary

COLUMNS = ("run", "env", "agent", "seed", "freeze", "step", "flops", "seconds", "mean", "std", "games")
COSTS = {
    "steps": "steps", "flops": "flops.total", "flops_never": "flops.baseline",
    "step_flops_before": "flops.per_step_before", "step_flops_after": "flops.per_step_after",
    "replay_bytes": "replay.bytes", "row_bytes_before": "replay.row_bytes_before",
    "row_bytes_after": "replay.row_bytes_after", "capacity_before": "replay.capacity_before",
    "capacity_after": "replay.capacity_after", "updates_per_second_before": "updates_per_second.before",
    "updates_per_second_after": "updates_per_second.after", "peak_bytes": "peak_rss_bytes", "seconds": "wall_seconds",
}  # fmt: skip
"""Columns of runs.csv, by their place in a finished run's summary."""
MOMENTS = {"frozen_at": "step", "frozen_at_flops": "flops", "frozen_at_seconds": "wall_seconds"}
MOST_TRAIN_RECORDS = 100

Table = dict[str, Any]


def add(folder: Path, named: Mapping[str, Run]) -> None:
    """Write runs by name into an exhibit's folder; SettingError, and nothing written, where one contradicts it."""
    settings = read_settings(folder)
    evaluations = read_table(folder / EVALUATIONS)
    for name, run in named.items():
        _refuse_other(name, run, settings, [row for row in evaluations if row["run"] == name])
    for file, columns, rows in (
        (EVALUATIONS, COLUMNS, [row for name, run in named.items() for row in _evaluations(name, run)]),
        (RUNS, ("run", *MOMENTS, *COSTS), [_costs(name, run) for name, run in named.items()]),
    ):
        kept = [row for row in read_table(folder / file) if row["run"] not in named]
        _write_table(folder / file, columns, [*kept, *rows])
    own = {name: _settings(run) for name, run in named.items()}
    _write_settings(folder / SETTINGS, settings | own)
    (folder / "records").mkdir(exist_ok=True)
    for name, run in named.items():
        lines = "".join(json.dumps(record) + "\n" for record in _thinned(run.records))
        content = gzip.compress(lines.encode(), mtime=0)  # the same bytes each time
        (folder / "records" / f"{name}.jsonl.gz").write_bytes(content)


def with_suffix(run: Run, suffix: str | None) -> str:
    """Return the name of a run in an exhibit: its folder's, with the suffix before the seed."""
    name, seed = run.folder.resolve().name, f"-{run.settings['seed']}"
    if suffix is None:
        return name
    return f"{name.removesuffix(seed)}-{suffix}{seed}"


def _refuse_other(name: str, run: Run, settings: Mapping[str, Table], rows: Sequence[Mapping[str, str]]) -> None:
    """Raise SettingError where the exhibit has another run of this name, or a later state of it."""
    remedy = f"give a --suffix, or take {name} out first"
    before, now = settings.get(name, {}), _settings(run)
    if other := [key for key in before if key in now and key not in CHANGEABLE and before[key] != now[key]]:
        raise SettingError(
            f"{name} is there with another {other[0]} ({before[other[0]]}, now {now[other[0]]}): {remedy}"
        )
    found = {str(row["step"]): str(row["mean"]) for row in _evaluations(name, run)}
    for row in rows:
        if found.get(row["step"]) != row["mean"]:
            raise SettingError(f"{name} is there with another evaluation at step {row['step']}: {remedy}")


def _evaluations(name: str, run: Run) -> list[Table]:
    asked = run.settings
    common = {"run": name, "env": asked["env"], "agent": asked["agent"], "seed": asked["seed"]}
    return [
        common
        | {"freeze": asked["freeze.at"], "step": each["step"], "flops": each["flops"]}
        | {"seconds": round(each["wall_seconds"], 1), "mean": round(each["mean"], 3), "std": round(each["std"], 3)}
        | {"games": each["episodes"]}
        for each in run.of_kind("eval")
    ]


def _costs(name: str, run: Run) -> Table:
    """Return when a run froze, and what it cost once it has finished."""
    freeze = next(iter(run.of_kind("freeze")), {})
    summary = dict(flatten(read_summary(run.folder) or {}))
    row: Table = {"run": name} | {column: freeze.get(key) for column, key in MOMENTS.items()}
    row |= {column: summary.get(key) for column, key in COSTS.items()}
    return {column: round(value, 3) if isinstance(value, float) else value for column, value in row.items()}


def _settings(run: Run) -> Table:
    settings = dict(flatten(RunFolder.open(run.folder).config))
    settings.pop("out", None)
    return settings


def _thinned(records: Sequence[Table]) -> Iterable[Table]:
    """Yield all records, of `train` every n-th and no more than a hundred."""
    every = -(-sum(record["kind"] == "train" for record in records) // MOST_TRAIN_RECORDS)
    seen = 0
    for record in records:
        seen += record["kind"] == "train"
        if record["kind"] != "train" or seen % every == 0:
            yield record


def _write_table(file: Path, columns: Sequence[str], rows: Iterable[Table]) -> None:
    with file.open("w", newline="") as lines:
        table = csv.DictWriter(lines, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(sorted(rows, key=lambda row: (row["run"], int(row.get("step", 0)))))


def _write_settings(file: Path, settings: Mapping[str, Table]) -> None:
    """Write what runs have in common, and what each has of its own."""
    first = next(iter(settings.values()))
    common = {
        name: value
        for name, value in first.items()
        if all(name in each and each[name] == value for each in settings.values())
    }
    own = {run: {n: v for n, v in each.items() if n not in common} for run, each in sorted(settings.items())}
    file.write_text(json.dumps({"common": common, "runs": own}, indent=1) + "\n")


def main(words: Sequence[str] | None = None) -> None:
    """Add the runs that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exhibit")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--suffix", help="a word that sets these runs apart from others of the same names")
    parser.add_argument("--only-data", action="store_true", help="leave tables and pictures as they are")
    options = parser.parse_args(words)
    folder = RESULTS / options.exhibit
    try:
        if not folder.is_dir():
            raise SettingError(f"there is no exhibit {options.exhibit}: make the folder {folder} and its README.md")
        found, missing = read_folders(options.folders)
        named = {with_suffix(run, options.suffix): run for run in found}
        if len(named) < len(found):
            raise SettingError("two of these runs have the same name: add them one by one, with a --suffix")
        add(folder, named)
    except SettingError as error:
        sys.exit(f"error: {error}")
    for name, run in named.items():
        print(f"{name}: {len(run.of_kind('eval'))} evaluations, to step {run.of_kind('eval')[-1]['step']:,}")
    for name, why in missing.items():
        print(f"left out: {name}: {why}")
    if not options.only_data:
        page.update()


if __name__ == "__main__":
    main()
