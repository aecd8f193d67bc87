"""Show a plan to a person: the command of every run, a table of costs, and one line that sums them up."""

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
    """Print the commands, and a row per environment and variant."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="FLOPs in brackets: of the same run without a freeze"
    )
    for name in ("env", "variant"):
        table.add_column(name, overflow="fold")
    for name in ("runs", "steps", "freeze", "FLOPs a run", "replay", "bytes a step", "hours a run"):
        table.add_column(name, justify="right", no_wrap=True)
    alike: dict[tuple[str, str], list[Planned]] = {}
    for each in planned:
        alike.setdefault((each.trial.env, each.trial.variant), []).append(each)
    sources = {each.trial.after for each in planned}
    for runs in alike.values():
        table.add_row(*_row(runs, root))
        for line in commands(runs, root, sources):
            console.print(line, markup=False)
    Console(width=max(console.width, WIDE)).print(table)


def commands(alike: Sequence[Planned], root: Path, sources: set[str | None]) -> list[str]:
    """Return the commands of a variant, one line if only the seed differs; --out where other runs start from it."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for each in alike:
        flags = flags_of(each.config)
        at = flags.index("--seed") + 1
        seed, flags[at] = flags[at], "SEED"
        if each.trial.name in sources:
            flags += ["--out", str(each.trial.folder(root.resolve()))]
        seeds.setdefault(tuple(flags), []).append(seed)
    shown = {flags: own[0] if len(own) == 1 else f"{{{','.join(own)}}}" for flags, own in seeds.items()}
    return [f"seer train {shlex.join(flags)}".replace("--seed SEED", f"--seed {seed}") for flags, seed in shown.items()]


def total(planned: Sequence[Planned], *, root: Path, room: Room | None) -> str:
    """Say in a line what the runs left to train take of compute, memory and time; `room` None: a cluster's, unknown."""
    left = [each for each in planned if not each.is_finished(root)]
    jobs = 1 if room is None else _jobs(left, room)
    bound = "at most " if any(each.is_bound for each in left) else ""
    flops = sum(each.flops for each in left)
    memory = human_bytes(jobs * max((each.needs.num_bytes for each in left), default=0))
    disk = human_bytes(jobs * max((each.disk_bytes for each in left), default=0))
    in_files = jobs * max((each.needs.file_bytes for each in left), default=0)
    files = f", {human_bytes(in_files)} of replays in files" if in_files else ""
    where, when = (
        (f"{jobs} at a time here", "at a time") if room else ("as many at a time as the cluster holds", "each")
    )
    line = (
        f"{len(planned)} runs, {len(left)} to go, {where}: {bound}{flops:.3g} FLOPs; at most {memory} of memory{files} "
        f"and {disk} of checkpoints {when}"
    )
    if not left or any(each.seconds is None for each in left):
        return line
    hours = sum(each.seconds or 0 for each in left) / 3600
    here = f", {hours / jobs:.1f} here" if room else ""
    speed = "at the speed just measured, without evaluations"
    return f"{line}; {bound}{hours:.1f} hours of training one by one{here}, {speed}"


def _row(alike: Sequence[Planned], root: Path) -> list[str]:
    first, finished = alike[0], sum(each.is_finished(root) for each in alike)
    before, after = first.row_bytes
    bound = "at most " if first.is_bound else ""
    return [
        short_name(first.trial.env),
        first.trial.variant,
        f"{len(alike)}" + (f" ({finished} done)" if finished else ""),
        f"{first.config.steps:,}",
        first.config.freeze.at,
        f"{bound}{first.flops:.2e} ({first.flops / first.baseline:.0%})",
        human_bytes(first.num_bytes),
        f"{before}" if before == after else f"{before} → {after}",
        "?" if first.seconds is None else f"{bound}{first.seconds / 3600:.2f}",
    ]


def _jobs(planned: Sequence[Planned], room: Room) -> int:
    """Return how many trials of the largest kind fit here at a time."""
    largest = max((each.needs for each in planned), key=lambda needs: (needs.cpus, needs.num_bytes), default=None)
    taken = [largest] if largest else []
    while largest and len(taken) < len(planned) and room.fits(largest, taken):
        taken.append(largest)
    return max(1, len(taken))
