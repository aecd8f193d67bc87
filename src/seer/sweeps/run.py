"""Train planned trials, on this machine or on a Ray cluster; their cost is said first."""

import dataclasses
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from seer.errors import writing_to
from seer.runs.folder import lock
from seer.sweeps.manifest import MANIFEST_FILE, Manifest
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import Planned, refuse_other_runs
from seer.sweeps.plan_table import print_plan, total
from seer.sweeps.progress import Progress
from seer.sweeps.runner import LocalRunner, Room
from seer.sweeps.speed import timed
from seer.sweeps.trial import Outcome
from seer.system_info import free_bytes, usable_cores

if TYPE_CHECKING:  # its package may be missing
    from seer.sweeps.ray_runner import RayRunner


def run(
    planned: Sequence[Planned],
    *,
    root: Path,
    options: SweepOptions,
    manifest: str = MANIFEST_FILE,
    remark: str = "",
) -> None:
    """Print what the trials cost, then train those that aren't finished in the folder `root`, unless it is a dry run.

    `manifest` is the file in `root` that records them; `remark` follows the sum of the costs. SettingError where
    another sweep works in the folder, it holds other runs of these names, or nothing can be written there.

    Raises:
        SystemExit: 130, stopped and resumable; 1, a trial failed.
        SettingError: their record can't be written; how they ended was said.
    """
    refuse_other_runs(planned, root)
    planned = timed(planned, root) if options.measure else planned
    if options.dry_run:
        print_plan(planned, root=root)
    room = room_for(planned, options) if options.ray is None else None
    print(f"{total(planned, root=root, room=room)}{remark}", flush=True)
    if options.dry_run:
        return
    with writing_to(f"--out {root}", "choose another folder"):
        root.mkdir(parents=True, exist_ok=True)
        held = lock(root)
    with held:
        trials = [each.trial for each in planned]
        known = Manifest(tuple(trials)).joined(root / manifest)  # of an earlier sweep in this folder
        known.write(root / manifest)
        outcomes = make_runner(planned, root, options, room).run(trials)
        _say_ends(outcomes, root)
        unsettled = known.failures.keys() - {name for name, each in outcomes.items() if each.kind != "stopped"}
        old = {name: known.failures[name] for name in unsettled}
        new = {name: each.reason for name, each in outcomes.items() if each.kind in ("failed", "killed")}
        dataclasses.replace(known, failures=old | new).write(root / manifest)
    kinds = {outcome.kind for outcome in outcomes.values()}
    if kinds - {"finished"}:
        raise SystemExit(130 if "stopped" in kinds else 1)


def make_runner(
    planned: Sequence[Planned], root: Path, options: SweepOptions, room: Room | None
) -> "LocalRunner | RayRunner":
    """Return the runner of this machine's room, or of a Ray cluster."""
    progress = Progress(
        root,
        steps={each.trial.name: each.config.steps for each in planned},
        flops={each.trial.name: each.flops for each in planned},
    )
    needs = {each.trial.name: each.needs for each in planned}
    if room is not None:
        return LocalRunner(root, needs=needs, room=room, retries=options.retries, progress=progress)
    from seer.sweeps.ray_runner import RayRunner

    return RayRunner(root, address=options.ray or "auto", needs=needs, retries=options.retries, progress=progress)


def room_for(planned: Sequence[Planned], options: SweepOptions) -> Room:
    """Return the room on this machine; whether a GPU holds two runs isn't known, so only --jobs puts several on it."""
    folders = {Path(each.config.replay_on) for each in planned if each.config.replay_on is not None}
    disk = min((shutil.disk_usage(folder).free for folder in folders if folder.is_dir()), default=math.inf)
    on_gpu = torch.cuda.is_available() and any(each.config.device != "cpu" for each in planned)
    return Room(usable_cores(), free_bytes(), 1 if on_gpu and options.jobs is None else options.jobs, disk)


def _say_ends(outcomes: Mapping[str, Outcome], root: Path) -> None:
    """Print how the trials ended."""
    kinds = [outcome.kind for outcome in outcomes.values()]
    print(f"{kinds.count('finished')} of {len(kinds)} runs finished, in {root}/runs")
    for name, outcome in outcomes.items():
        if outcome.kind in ("failed", "killed"):
            print(f"failed: {name}: {outcome.reason}")
    if stopped := kinds.count("stopped"):
        print(f"{stopped} stopped; the same command goes on with them")
