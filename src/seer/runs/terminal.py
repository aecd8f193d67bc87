"""The terminal: a live line, one line per event, a table at the end."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from seer.envs.registry import suite_of
from seer.runs.outputs.base import Output


class Terminal(Output):
    """Show a progress bar on a terminal; in a file or a notebook, a plain line every `quiet_seconds` seconds.

    The live line is shown inside `with`; what follows is printed plainly.
    """

    name = "terminal"

    def __init__(self, console: Console | None = None, *, quiet_seconds: float = 20.0) -> None:
        self.console = console or _own_console()
        self.quiet_seconds, self._last_line = quiet_seconds, time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> "Terminal":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def advance(self, task: str, done: int, total: int, status: str = "") -> None:
        """Show how far `task` is; a finished task disappears."""
        if self.console.is_terminal:
            if task not in self._tasks:
                self._tasks[task] = self._progress.add_task(task, total=total, status=status)
            self._progress.update(self._tasks[task], completed=done, status=status)  # type: ignore[arg-type]
            if done >= total:
                self._progress.remove_task(self._tasks.pop(task))  # type: ignore[arg-type]
        elif time.monotonic() - self._last_line > self.quiet_seconds:
            self._last_line = time.monotonic()
            self.console.print(f"{task} {done:,}/{total:,}  {status}", markup=False)

    def say(self, line: str) -> None:
        """Print one line that stays, as it is: [brackets] are no markup."""
        self.console.print(line, markup=False)

    def table(self, title: str, rows: Mapping[str, str]) -> None:
        """Print a table of name and value."""
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows.items():
            table.add_row(name, value)
        self.console.print(table)


def _own_console() -> Console:
    """Return a console on the standard output.

    `!seer` in a notebook has a terminal too, but one that keeps each redrawn bar; Jupyter's kernels set the variable.
    """
    in_notebook = "JPY_PARENT_PID" in os.environ
    soft_wrap = in_notebook or not sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=soft_wrap, force_terminal=False if in_notebook else None)


def closing_table(summary: dict[str, Any]) -> dict[str, str]:
    """Return the table of a finished run: score, FLOPs, bytes, time."""
    flops, replay, rates = summary["flops"], summary["replay"], summary["updates_per_second"]
    last = summary["evaluation"][-1]
    games = f"{last['episodes']} episode{'s' * (last['episodes'] != 1)}"
    saved = round(1 - flops["total"] / flops["baseline"], 2) + 0.0  # a little more is "0%", not "-0%"
    never = summary["frozen_at"] is None
    decision = summary["freeze"]
    why = f": {decision['reason']}" if never and decision["mode"] != "never" else ""
    frozen = f"never{why}" if never else f"at step {summary['frozen_at']:,}"
    per_step = [f"{flops['per_step_before']:.3g}", *([] if never else [f"{flops['per_step_after']:.3g}"])]
    speeds = " -> ".join(f"{rate:,.0f}" for rate in rates.values() if rate is not None)
    normalized = summary.get("normalized_score")
    scale = {} if normalized is None else {"normalised": f"{normalized:.3f} ({suite_of(summary['env']).scale})"}
    compared = "" if never else f", {abs(saved):.0%} {'less' if saved >= 0 else 'more'} than without a freeze"
    return {
        "score": f"{last['mean']:,.1f} ± {last['std']:,.1f} over {games} at step {last['step']:,}",
        **scale,
        "encoder frozen": frozen,
        "FLOPs": f"{flops['total']:.3g}{compared}",
        "FLOPs per step": " -> ".join(per_step),
        "bytes per stored step": f"{replay['row_bytes_before']:,} -> {replay['row_bytes_after']:,}",
        "replay memory": human_bytes(replay["bytes"]),
        "replay capacity": f"{replay['capacity_before']:,} -> {replay['capacity_after']:,} observations",
        "updates per second": speeds or "none",
        "peak memory": human_bytes(summary["peak_rss_bytes"]),
        "time": f"{summary['wall_seconds'] / 60:.1f} minutes",
    }


def human_bytes(count: float) -> str:
    """Return a size in decimal units: 705600000 -> '705.6 MB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
