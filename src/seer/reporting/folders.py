"""Find the runs that a folder means: itself, or all runs of the sweeps and exhibits in it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from seer.errors import SettingError
from seer.reporting.curves import Run, read_run
from seer.runs.folder import CONFIG_FILE, SUMMARY_FILE
from seer.sweeps.manifest import manifests_in
from seer.sweeps.trial import Entry


def read_folders(paths: Sequence[Path]) -> tuple[list[Run], dict[str, str]]:
    """Return the runs that the folders mean, each once, and by name why others aren't among them.

    SettingError where a folder is no run, or not evaluated yet, and no sweep or exhibit was trained in it.
    """
    runs: dict[Path, Run] = {}
    missing: dict[str, str] = {}
    for path in paths:
        manifests = [] if (path / CONFIG_FILE).exists() else manifests_in(path)
        if not manifests:
            _refuse_runs_below(path)
            runs.setdefault(path.resolve(), read_run(path))
        for manifest in manifests:
            found, lost = finished(manifest.trials, path, manifest.failures)
            for run in _as_called(manifest.trials, found):
                runs.setdefault(run.folder.resolve(), run)
            missing |= lost
    return list(runs.values()), missing


def finished(trials: Sequence[Entry], root: Path, failures: Mapping[str, str]) -> tuple[dict[str, Run], dict[str, str]]:
    """Return, by name, the finished runs of these trials in the folder `root`, and why the others aren't among them."""
    found, missing = {}, {}
    for trial in trials:
        folder = trial.folder(root)
        if (folder / SUMMARY_FILE).exists():
            found[trial.name] = read_run(folder)
        else:
            missing[trial.name] = failures.get(trial.name, "not finished" if folder.exists() else "not started")
    return found, missing


def _as_called(trials: Sequence[Entry], found: Mapping[str, Run]) -> list[Run]:
    """Name a sweep's runs by its own variants, where a variant is frozen at other steps elsewhere."""
    variants = {trial.name: trial.variant for trial in trials if trial.name in found}
    if len({(variants[name], run.label) for name, run in found.items()}) == len(set(variants.values())):
        return list(found.values())
    return [dataclasses.replace(run, variant=variants[name]) for name, run in found.items()]


def _refuse_runs_below(path: Path) -> None:
    """Raise a SettingError that says more than "no run" where the folders inside are some."""
    below = sum((folder / CONFIG_FILE).exists() for folder in path.glob("*/"))
    if below and not (path / CONFIG_FILE).exists():
        raise SettingError(f"{path} is no run and has no record of a sweep, but holds {below} runs: give {path}/*/")
