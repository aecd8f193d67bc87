"""Tabulate the compute and the memory of groups, from the summaries that their runs left."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seer.reporting.curves import Group
from seer.reporting.page import Table
from seer.runs.folder import flatten, read_summary
from seer.runs.terminal import human_bytes
from seer.sweeps.grid import short_name

NONE = "-"
ARROWS = "Means over seeds. Arrows: before and, of the runs that froze, after the freeze."
Summary = dict[str, Any]


def cost_tables(groups: Sequence[Group]) -> list[tuple[str, Table]]:
    """Return the compute of the groups with a finished run, and their memory."""
    compute, memory = [], []
    for group in groups:
        if summaries := [found for run in group.runs if (found := read_summary(run.folder)) is not None]:
            name = [short_name(group.environment), group.label]
            compute.append([*name, *_compute(summaries)])
            memory.append([*name, *_memory(summaries)])
    spent = ["FLOPs", "of never freezing", "FLOPs a step", "updates a second", "hours"]
    held = ["bytes a stored step", "replay", "capacity in steps", "peak memory"]
    spent_note = (
        f"{ARROWS} One multiply-add counts as one FLOP, a backward pass as two forward passes. Updates a second and "
        "hours are of the machine that trained."
    )
    held_note = f"{ARROWS} Peak memory is the whole process's, on the machine that trained."
    return [
        ("Compute", Table(["environment", "group", *spent], compute, 2, spent_note)),
        ("Memory", Table(["environment", "group", *held], memory, 2, held_note)),
    ]


def _compute(summaries: Sequence[Summary]) -> list[str]:
    total, baseline = (_mean(summaries, "flops", name) or 0.0 for name in ("total", "baseline"))
    return [
        f"{total:.3g}",
        f"{total / baseline:.0%}" if baseline else NONE,
        _change(summaries, ".3g", ("flops", "per_step_before"), ("flops", "per_step_after")),
        _change(summaries, ",.0f", ("updates_per_second", "before"), ("updates_per_second", "after")),
        f"{(_mean(summaries, 'wall_seconds') or 0) / 3600:.2f}",
    ]


def _memory(summaries: Sequence[Summary]) -> list[str]:
    return [
        _change(summaries, ",.0f", ("replay", "row_bytes_before"), ("replay", "row_bytes_after")),
        human_bytes(_mean(summaries, "replay", "bytes") or 0),
        _change(summaries, ",.0f", ("replay", "capacity_before"), ("replay", "capacity_after")),
        human_bytes(_mean(summaries, "peak_rss_bytes") or 0),
    ]


def _change(summaries: Sequence[Summary], form: str, before: tuple[str, str], after: tuple[str, str]) -> str:
    """Return a mean before the freeze, and after it over the runs that froze; once, where nothing changed."""
    frozen = [summary for summary in summaries if summary.get("frozen_at") is not None]
    means = _mean(summaries, *before), _mean(frozen, *after)
    known = dict.fromkeys(mean for mean in means if mean is not None)
    return " → ".join(format(mean, form) for mean in known) or NONE


def _mean(summaries: Sequence[Summary], *names: str) -> float | None:
    """Return the mean of a nested number over the summaries that have it."""
    values = [dict(flatten(summary)).get(".".join(names)) for summary in summaries]
    known = [value for value in values if isinstance(value, int | float)]
    return float(np.mean(known)) if known else None
