"""One live view of all trials: how far each is, its score, and how long the rest takes."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seer.runs.folder import METRICS_FILE
from seer.sweeps.trial import Outcome, State, Trial

SHOWN = 16
"""Training runs that the view lists; the others are counted."""


class Follower:
    """Read the records that a run appends to its metrics, each once."""

    def __init__(self, folder: Path) -> None:
        self.file, self.offset = folder / METRICS_FILE, 0
        self.step, self.flops = 0, 0
        self.score: float | None = None
        self.updates_per_second: float | None = None

    def read(self) -> None:
        """Take in the records since the last time; a run that went back to a checkpoint is read from its start."""
        try:
            with self.file.open("rb") as file:
                if file.seek(0, 2) < self.offset:
                    self.offset = 0
                file.seek(self.offset)
                whole, newline, _torn = file.read().rpartition(b"\n")
        except OSError:
            return
        self.offset += len(whole) + len(newline)
        for line in whole.splitlines():
            with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # a damaged one
                self._take(json.loads(line))

    def _take(self, record: Mapping[str, Any]) -> None:
        self.step, self.flops = int(record["step"]), int(record["flops"])
        if record["kind"] == "eval":
            self.score = float(record["mean"])
        elif record["kind"] == "train":
            self.updates_per_second = float(record["updates_per_second"] or 0)


class Progress:
    """Show a table that refreshes on a terminal; elsewhere one line per event, and a summary every `quiet_seconds`.

    `steps` and `flops` are those that each trial will take, by name; `root` is the sweep's folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        steps: Mapping[str, int],
        flops: Mapping[str, float],
        console: Console | None = None,
        quiet_seconds: float = 60.0,
    ) -> None:
        self.root, self.steps, self.flops = root, steps, flops
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.quiet_seconds = quiet_seconds
        self.followers: dict[str, Follower] = {}
        self.ends: dict[str, Outcome] = {}
        self._live = Live(console=self.console, refresh_per_second=2, transient=True)
        self._began = self._last_line = time.monotonic()
        self._done_before: float | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print one line that stays."""
        self.console.print(line, markup=False)

    def started(self, trial: Trial, state: State) -> None:
        """Tell that a trial's training was started."""
        self.say(f"{trial.name}: {'goes on' if state == 'resumable' else 'starts'}")

    def ended(self, trial: Trial, outcome: Outcome, *, new: bool = True) -> None:
        """Tell that a trial came to its end, just now or (`new` False) before this sweep."""
        self.ends[trial.name] = outcome
        self._follow(trial)
        score = self.followers[trial.name].score
        if outcome.kind == "finished":
            said = f"finished, score {'?' if score is None else f'{score:,.1f}'}"
        else:
            said = outcome.reason if outcome.kind == "stopped" else f"{outcome.kind}: {outcome.reason}"
        if new:
            self.say(f"{trial.name}: {said}")

    def update(self, running: Sequence[Trial]) -> None:
        """Show where the sweep stands."""
        quiet = not self.console.is_terminal
        if quiet and time.monotonic() - self._last_line < self.quiet_seconds:
            return
        self._last_line = time.monotonic()
        for trial in running:
            self._follow(trial)
        headline = self._headline(len(running))
        if quiet:
            shares = {each.name: self.followers[each.name].step / self.steps[each.name] for each in running[:SHOWN]}
            self.say(f"{headline} | {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}")
        else:
            self._live.update(Group(Text(headline), self._table(running)))

    def _follow(self, trial: Trial) -> None:
        self.followers.setdefault(trial.name, Follower(trial.folder(self.root))).read()

    def _headline(self, running: int) -> str:
        kinds = {name: outcome.kind for name, outcome in self.ends.items()}
        count = list(kinds.values()).count
        failed = count("failed") + count("killed")
        total = sum(self.flops.values())
        done = sum(
            self.flops[name] if kinds.get(name) == "finished" else min(follower.flops, self.flops[name])
            for name, follower in self.followers.items()
        )
        if self._done_before is None:
            self._done_before, self._began = done, time.monotonic()
        gained, seconds = done - self._done_before, time.monotonic() - self._began
        left = f" | about {(total - done) * seconds / gained / 3600:.1f} h left" if gained > 0 and seconds > 30 else ""
        return (
            f"{count('finished')} of {len(self.steps)} finished, {running} training, {failed} failed"
            f" | {done / total if total else 1:.0%} of {total:.2g} FLOPs{left}"
        )

    def _table(self, running: Sequence[Trial]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("run", "step", "of", "score", "updates/s"):
            table.add_column(name, justify="left" if name == "run" else "right", no_wrap=True)
        for trial in running[:SHOWN]:
            follower = self.followers[trial.name]
            score = "" if follower.score is None else f"{follower.score:,.1f}"
            rate = "" if not follower.updates_per_second else f"{follower.updates_per_second:,.0f}"
            table.add_row(trial.name, f"{follower.step:,}", f"{self.steps[trial.name]:,}", score, rate)
        if len(running) > SHOWN:
            table.add_row(f"and {len(running) - SHOWN} more")
        return table
