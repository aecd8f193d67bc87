"""A plan as a person reads it: the command of every run, a table of costs, and one line of what all of it takes."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from seer.runs.terminal import human_bytes
from seer.settings import flags_of
from seer.sweeps.grid import short_name
from seer.sweeps.plan import Planned
from seer.sweeps.runner import Room

WIDE = 118  # columns that the table needs


def print_plan(planned: Sequence[Planned], *, root: Path) -> None:
    """Print the commands, and a row per environment and group."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="FLOPs in brackets: of the same run without a freeze"
    )
    for name in ("env", "group"):
        table.add_column(name, overflow="fold")
    for name in ("runs", "steps", "freeze", "FLOPs a run", "replay", "bytes a step", "hours a run"):
        table.add_column(name, justify="right", no_wrap=True)
    groups = _by_group(planned)
    for alike in groups:
        table.add_row(*_row(alike, root))
    sources = {each.trial.after for each in planned}
    for alike in groups:
        for line in commands(alike, root, sources):
            console.print(line, markup=False)
    Console(width=max(console.width, WIDE)).print(table)


def commands(alike: Sequence[Planned], root: Path, sources: set[str | None]) -> list[str]:
    """Return the commands of a group, one line if only the seed differs; with --out where other runs start from it."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for each in alike:
        flags = flags_of(each.config)
        at = flags.index("--seed") + 1
        seed, flags[at] = flags[at], "SEED"
        if each.trial.name in sources:
            flags += ["--out", str(each.trial.folder(root.resolve()))]
        seeds.setdefault(tuple(flags), []).append(seed)
    return [
        "seer train " + shlex.join(flags).replace("--seed SEED", f"--seed {_one_of(numbers)}")
        for flags, numbers in seeds.items()
    ]


def total(planned: Sequence[Planned], *, root: Path, room: Room | None) -> str:
    """Say in a line what is left to train takes of compute, memory and time; `room` None is a cluster's, not known."""
    left = [each for each in planned if not each.is_finished(root)]
    jobs = 1 if room is None else _jobs(left, room)
    bound = "at most " if any(each.is_bound for each in left) else ""
    flops = sum(each.flops for each in left)
    memory = jobs * max((each.needs.num_bytes for each in left), default=0)
    disk = jobs * max((each.disk_bytes for each in left), default=0)
    where, when = (
        (f"{jobs} at a time here", "at a time") if room else ("as many at a time as the cluster holds", "each")
    )
    line = (
        f"{len(planned)} runs, {len(left)} to go, {where}: {bound}{flops:.3g} FLOPs; at most "
        f"{human_bytes(memory)} of memory and {human_bytes(disk)} of checkpoints {when}"
    )
    if left and all(each.seconds is not None for each in left):
        hours = sum(each.seconds or 0 for each in left) / 3600
        here = f", {hours / jobs:.1f} here" if room else ""
        line += (
            f"; {bound}{hours:.1f} hours of training one by one{here}, at the speed just measured, without evaluations"
        )
    return line


def _row(alike: Sequence[Planned], root: Path) -> list[str]:
    first, trial = alike[0], alike[0].trial
    finished = sum(each.is_finished(root) for each in alike)
    before, after = first.row_bytes
    bound = "at most " if first.is_bound else ""
    return [
        short_name(trial.env),
        trial.group,
        f"{len(alike)}" + (f" ({finished} done)" if finished else ""),
        f"{first.config.steps:,}",
        first.config.freeze.at,
        f"{bound}{first.flops:.2e} ({first.flops / first.baseline:.0%})",
        human_bytes(first.num_bytes),
        f"{before}" if before == after else f"{before} → {after}",
        "?" if first.seconds is None else f"{bound}{first.seconds / 3600:.2f}",
    ]


def _one_of(numbers: Sequence[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"{{{','.join(numbers)}}}"


def _jobs(planned: Sequence[Planned], room: Room) -> int:
    """Trials of the largest kind that fit here at a time."""
    if not planned:
        return 1
    largest = max((each.needs for each in planned), key=lambda needs: (needs.cpus, needs.num_bytes))
    taken = [largest]
    while room.fits(largest, taken) and len(taken) < len(planned):
        taken.append(largest)
    return len(taken)


def _by_group(planned: Sequence[Planned]) -> list[list[Planned]]:
    groups: dict[tuple[str, str], list[Planned]] = {}
    for each in planned:
        groups.setdefault((each.trial.env, each.trial.group), []).append(each)
    return list(groups.values())
