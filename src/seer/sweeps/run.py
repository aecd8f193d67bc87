"""Train what a plan holds, on this machine or on a Ray cluster; what it costs is said first."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console

from seer.errors import SettingError
from seer.runs.folder import lock
from seer.sweeps.manifest import Manifest
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import Plan, Planned
from seer.sweeps.plan_table import print_plan, total
from seer.sweeps.progress import Progress
from seer.sweeps.runner import LocalRunner, Room, Runner, room_here
from seer.sweeps.speed import timed
from seer.sweeps.trial import Outcome


def run(plan: Plan) -> None:
    """Print what the plan costs, then train what isn't finished, unless it is a dry run.

    Raises:
        SettingError: another sweep works in its folder, or nothing can be written there.
        SystemExit: 130, stopped and resumable; 1, a trial failed.
    """
    root, options = plan.root, plan.options
    planned = timed(plan.planned, root=root, say=print) if options.measure else plan.planned
    if options.dry_run:
        print_plan(planned, root=root)
    room = room_for(planned, options) if options.ray is None else None
    print(f"{total(planned, root=root, room=room)}{plan.remark}", flush=True)
    if options.dry_run:
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        held = lock(root)
    except OSError as error:
        raise SettingError(f"--out {root} can't be written ({error.strerror}): choose another folder") from error
    try:
        trials = [each.trial for each in planned]
        known = Manifest(plan.title, tuple(trials)).joined(root / plan.manifest)  # of an earlier sweep in this folder
        known.write(root / plan.manifest)
        outcomes = make_runner(planned, root, options).run(trials)
        failures = {name: reason for name, reason in known.failures.items() if not _is_settled(outcomes.get(name))}
        failures |= {name: each.reason for name, each in outcomes.items() if each.kind in ("failed", "killed")}
        dataclasses.replace(known, failures=failures).write(root / plan.manifest)
    finally:
        if held is not None:
            held.close()
    _conclude(outcomes, root)


def make_runner(planned: Sequence[Planned], root: Path, options: SweepOptions) -> Runner:
    """Return the runner that the options ask for: this machine's, or a Ray cluster's."""
    progress = Progress(
        root,
        steps={each.trial.name: each.config.steps for each in planned},
        flops={each.trial.name: each.flops for each in planned},
    )
    needs = {each.trial.name: each.needs for each in planned}
    if options.ray is None:
        room = room_for(planned, options)
        return LocalRunner(root, needs=needs, room=room, retries=options.retries, progress=progress)
    from seer.sweeps.ray_runner import RayRunner

    return RayRunner(root, address=options.ray, needs=needs, retries=options.retries, progress=progress)


def room_for(planned: Sequence[Planned], options: SweepOptions) -> Room:
    """Return what this machine gives; whether a GPU holds two runs isn't known, so only --jobs puts several on it."""
    on_gpu = torch.cuda.is_available() and any(each.config.device != "cpu" for each in planned)
    return room_here(1 if on_gpu and options.jobs is None else options.jobs)


def _is_settled(outcome: Outcome | None) -> bool:
    """Tell whether a trial's earlier failure is history."""
    return outcome is not None and outcome.kind != "stopped"


def _conclude(outcomes: Mapping[str, Outcome], root: Path) -> None:
    """Print how the trials ended; exit with a code where not all of them finished."""
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
