"""Train the trials of a sweep as processes of this machine, as many at a time as cores and memory allow."""

import math
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from seer.signals import listening
from seer.sweeps.progress import Progress
from seer.sweeps.trial import Needs, Outcome, State, Trial, orphaned, outcome_of, start, state_of

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Room:
    """Hold the cores, bytes of memory, trials at a time (None: as many as fit) and bytes of disk that a sweep has."""

    cores: int
    num_bytes: int
    jobs: int | None = None
    file_bytes: float = math.inf

    def fits(self, needs: Needs, taken: Sequence[Needs]) -> bool:
        """Tell whether one more trial fits beside those that train. One alone always may."""
        if not taken:
            return True
        everyone = [*taken, needs]
        return (
            sum(each.cpus for each in everyone) <= self.cores
            and sum(each.num_bytes for each in everyone) <= self.num_bytes
            and sum(each.file_bytes for each in everyone) <= self.file_bytes
            and (self.jobs is None or len(everyone) <= self.jobs)
        )


class LocalRunner:
    """Run trials as processes of this machine, in the sweep's folder `root`.

    `needs` are by trial's name; a trial that was killed goes on from its checkpoint up to `retries` times.
    """

    def __init__(self, root: Path, *, needs: Mapping[str, Needs], room: Room, retries: int, progress: Progress) -> None:
        self.root, self.needs, self.room, self.retries, self.progress = root, needs, room, retries, progress
        self.running: dict[str, tuple[Trial, subprocess.Popen[bytes]]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.deaths: Counter[str] = Counter()
        self.held: set[str] = set()  # trials that another process writes
        self.stops = 0  # times that it was asked to stop

    def run(self, trials: Sequence[Trial]) -> dict[str, Outcome]:
        """Bring every trial to its end; return how each ended. Asked to stop, those that train write a checkpoint."""
        waiting = [trial for trial in trials if not self._was_finished(trial)]
        with listening(self._stop), self.progress:
            while self.running or (waiting and not self.stops):
                if not self.stops:
                    waiting = self._start_what_fits(waiting)
                time.sleep(POLL_SECONDS)
                waiting = self._collect() + waiting
                waiting = self._drop_orphans(waiting)
                self.progress.update([trial for trial, _ in self.running.values()])
        for trial in waiting:
            self.outcomes.setdefault(trial.name, Outcome("stopped", "not started"))
        return self.outcomes

    def _start_what_fits(self, waiting: list[Trial]) -> list[Trial]:
        """Start trials in their order; return those that wait on. A busy folder waits for its process to end."""
        finished = {None, *(name for name, outcome in self.outcomes.items() if outcome.kind == "finished")}
        left = []
        for trial in waiting:
            taken = [self.needs[name] for name in self.running]
            if self.stops or trial.after not in finished or not self.room.fits(self.needs[trial.name], taken):
                left.append(trial)
                continue
            state = state_of(trial.folder(self.root))
            if state == "busy":
                left.append(trial)
                if trial.name not in self.held:
                    self.held.add(trial.name)
                    self.progress.say(f"{trial.name}: another process writes this run; waiting for it to end")
            elif not self._was_finished(trial):
                self._start(trial, state)
        return left

    def _start(self, trial: Trial, state: State) -> None:
        """Start a trial; one for whose log or process the system has no room has failed."""
        self.progress.started(trial, state)
        try:
            self.running[trial.name] = trial, start(trial, self.root, self.needs[trial.name])
        except OSError as error:
            self.outcomes[trial.name] = Outcome("failed", f"it can't be started ({error}): make room for it")
            self.progress.ended(trial, self.outcomes[trial.name])
        else:
            if self.stops:  # asked while it was being started; being told twice does no harm
                self.running[trial.name][1].terminate()

    def _was_finished(self, trial: Trial) -> bool:
        """Tell whether a trial needs nothing more; if so it is counted, before those that train have ended."""
        if state_of(trial.folder(self.root)) != "finished":
            return False
        self.outcomes[trial.name] = Outcome("finished")
        self.progress.ended(trial, self.outcomes[trial.name], new=False)
        return True

    def _collect(self) -> list[Trial]:
        """Note how processes ended; return the trials to start again."""
        again = []
        for name, (trial, process) in list(self.running.items()):
            exit_code = process.poll()
            if exit_code is None:
                continue
            del self.running[name]
            outcome = outcome_of(trial, self.root, exit_code)
            revivable = outcome.kind in ("killed", "stopped") and not self.stops
            if revivable and self.deaths[name] < self.retries:
                self.deaths[name] += 1
                self.progress.say(f"{name}: {outcome.reason}; going on from its last checkpoint")
                again.append(trial)
                continue
            if self.stops and outcome.kind == "killed":
                outcome = Outcome("stopped", "stopped before a checkpoint could be written")
            self.outcomes[name] = outcome
            self.progress.ended(trial, outcome)
        return again

    def _drop_orphans(self, waiting: list[Trial]) -> list[Trial]:
        """Give up the trials that wait for one that didn't finish."""
        for trial in waiting:
            if trial.after in self.outcomes and (outcome := orphaned(trial, self.outcomes[trial.after])) is not None:
                self.outcomes[trial.name] = outcome
                self.progress.ended(trial, outcome)
        return [trial for trial in waiting if trial.name not in self.outcomes]

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask every training to write a checkpoint and end; asked twice, kill it."""
        self.stops += 1
        for _, process in self.running.values():
            process.send_signal(signal.SIGTERM if self.stops == 1 else signal.SIGKILL)
