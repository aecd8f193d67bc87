"""`seer sweep`: a grid of runs, planned, then trained by the local engine or by Ray."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from seer.config import Config, config_from_json, config_to_json
from seer.errors import SettingError
from seer.experiments.grid import Grid
from seer.experiments.live import LiveView
from seer.experiments.sweep import LocalEngine, Room, room_here
from seer.experiments.trials import MANIFEST_FILE, Manifest, Outcome, Trial
from seer.studies.listing import print_plan, total
from seer.studies.plan import Planned, naming, plan, timed
from seer.studies.pool import Pool, check_pool
from seer.training.run import CHANGEABLE, CONFIG_FILE, RunFolder, lock, settings_of

Resolve = Callable[[Sequence[str]], Config]
"""From flags of `seer train` to checked settings."""


def sweep_grid(grid: Grid, *, common: Sequence[str], pool: Pool, resolve: Resolve) -> None:
    """Plan and train a grid; `common` flags of `seer train` come last in every run.

    Raises:
        SettingError: a setting is wrong, in any of the runs.
        SystemExit: as `train_all`.
    """
    if pool.out is None and not pool.dry_run:
        raise SettingError("--out is missing: give the folder of the sweep, for example --out runs/sweep")
    for flag, instead in (("--env", "--envs"), ("--seed", "--seeds"), ("--out", "--out, before the --,")):
        if _names(flag, common):
            raise SettingError(f"{flag} would make all runs the same one: use {instead} of the sweep")
    root = pool.out or Path("runs/sweep")
    trials = [dataclasses.replace(trial, flags=(*trial.flags, *common)) for trial in grid.trials()]
    carry_out("sweep", check(trials, root=root, pool=pool, resolve=resolve), root=root, pool=pool)


def check(trials: Sequence[Trial], *, root: Path, pool: Pool, resolve: Resolve) -> list[Planned]:
    """The trials with what they cost, once nothing is known to be wrong with them; writes nothing.

    Raises:
        SettingError: a setting of the sweep or of a run is wrong, or `root` holds other runs.
    """
    check_pool(pool)
    trials = [trial if _names("--threads", trial.flags) else _with_threads(trial, pool.threads) for trial in trials]
    planned = plan([(trial, resolved(trial, resolve)) for trial in trials], pool)
    refuse_other_runs(planned, root)
    return planned


def resolved(trial: Trial, resolve: Resolve) -> Config:
    """A trial's settings; what is wrong with them names the trial."""
    with naming(trial):
        return resolve(trial.flags)


def carry_out(
    title: str, planned: Sequence[Planned], *, root: Path, pool: Pool, manifest: str = MANIFEST_FILE, remark: str = ""
) -> None:
    """Say what the runs cost, with a `remark` on it, and train them unless it is a dry run.

    Raises:
        SettingError, SystemExit: as `train_all`.
    """
    if pool.measure:
        planned = timed(planned, root=root, say=print)
    if pool.dry_run:
        print_plan(planned, root=root)
    room = room_for(planned, pool) if pool.ray is None else None
    print(f"{total(planned, root=root, room=room)}{remark}", flush=True)
    if not pool.dry_run:
        train_all(title, planned, root=root, pool=pool, manifest=manifest)


def train_all(title: str, planned: Sequence[Planned], *, root: Path, pool: Pool, manifest: str) -> None:
    """Train what isn't finished, in `root`; the exit code says whether all of it is.

    Raises:
        SettingError: another sweep works in `root`, or nothing can be written there.
        SystemExit: 130, stopped and resumable; 1, a trial failed.
    """
    trials = [each.trial for each in planned]
    try:
        root.mkdir(parents=True, exist_ok=True)
        held = lock(root)
    except OSError as error:
        raise SettingError(f"--out {root} can't be written ({error.strerror}): choose another folder") from error
    try:
        known = Manifest(title, tuple(trials)).joined(root / manifest)  # of an earlier sweep in this folder
        known.write(root / manifest)
        outcomes = _train(planned, root, pool)
        failures = {name: reason for name, reason in known.failures.items() if not _is_settled(outcomes.get(name))}
        failures |= {name: each.reason for name, each in outcomes.items() if each.kind in ("failed", "killed")}
        dataclasses.replace(known, failures=failures).write(root / manifest)
    finally:
        if held is not None:
            held.close()
    _close(outcomes, root)


def _train(planned: Sequence[Planned], root: Path, pool: Pool) -> dict[str, Outcome]:
    view = LiveView(
        root,
        steps={each.trial.name: each.config.steps for each in planned},
        flops={each.trial.name: each.flops for each in planned},
    )
    trials = [each.trial for each in planned]
    needs = {each.trial.name: each.needs for each in planned}
    if pool.ray is None:
        room = room_for(planned, pool)
        return LocalEngine(root, needs=needs, room=room, retries=pool.retries, view=view).run(trials)
    from seer.experiments.ray_engine import RayEngine

    return RayEngine(root, address=pool.ray, needs=needs, retries=pool.retries, view=view).run(trials)


def room_for(planned: Sequence[Planned], pool: Pool) -> Room:
    """What this machine gives; whether a GPU holds two runs isn't known, so that only --jobs puts several on it."""
    on_gpu = torch.cuda.is_available() and any(each.config.device != "cpu" for each in planned)
    return room_here(1 if on_gpu and pool.jobs is None else pool.jobs)


def _names(flag: str, flags: Sequence[str]) -> bool:
    return any(part.partition("=")[0] == flag for part in flags)


def _is_settled(outcome: Outcome | None) -> bool:
    """Whether a trial's earlier failure is history."""
    return outcome is not None and outcome.kind != "stopped"


def _with_threads(trial: Trial, threads: int) -> Trial:
    return dataclasses.replace(trial, flags=(*trial.flags, "--threads", str(threads)))


def refuse_other_runs(planned: Sequence[Planned], root: Path) -> None:
    """A run folder of a trial's name has to hold that trial: nothing is mixed up, nothing overwritten."""
    for each in planned:
        folder = each.trial.folder(root)
        if not (folder / CONFIG_FILE).exists():
            continue
        theirs = RunFolder.open(folder).config
        with suppress(SettingError):  # an earlier version's: settings that it didn't know have their defaults
            theirs = config_to_json(config_from_json(theirs))
        differing = _differing(_told_apart(config_to_json(each.config)), _told_apart(theirs))
        for name in ("precision", "convolution"):
            if getattr(each.config.learning, name) == "auto":  # as the machine that began it decided
                differing = [found for found in differing if found != f"learning.{name}"]
        if differing:
            raise SettingError(
                f"--out {root}: {folder} is another run (it differs in {', '.join(differing)}); choose another --out"
            )


def _told_apart(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the name of the run that another's encoder comes from, wherever that run lies."""
    settings, name = settings_of(config), "freeze.encoder_from"
    return settings | ({name: Path(settings[name]).name} if isinstance(settings.get(name), str) else {})


def _close(outcomes: Mapping[str, Outcome], root: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.kind in ("failed", "killed")}
    stopped = sum(outcome.kind == "stopped" for outcome in outcomes.values())
    finished = sum(outcome.kind == "finished" for outcome in outcomes.values())
    console.print(f"{finished} of {len(outcomes)} runs finished, in {root}/runs", markup=False)
    for name, outcome in failed.items():
        console.print(f"failed: {name}: {outcome.reason}", markup=False)
    if stopped:
        console.print(f"{stopped} stopped; the same command goes on with them", markup=False)
        raise SystemExit(130)
    if failed:
        raise SystemExit(1)


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = (ours.keys() | theirs.keys()) - CHANGEABLE
    return sorted(name for name in names if ours.get(name) != theirs.get(name))
