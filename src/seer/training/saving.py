"""Writing a run's checkpoints and snapshots."""

from pathlib import Path
from typing import Any

from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import RunFolder
from seer.runs.snapshots import save_snapshot
from seer.training.events import Events
from seer.training.state import TrainingState

EVENTS = "journal"
"""Name of the events' part of a checkpoint; it stays, so that older runs can be resumed."""


class Checkpointer:
    """Save one run in its folder.

    Attributes:
        last, last_step: the newest checkpoint, and its step.
    """

    def __init__(self, run: TrainingState, folder: RunFolder, events: Events, *, last: Path | None = None) -> None:
        self.run, self.folder, self.events = run, folder, events
        self.last = last
        self.last_step = None if last is None else run.step

    def save(self) -> None:
        """Save everything that the run needs to continue exactly from here.

        Raises:
            RunError: a check of the run fails; nothing is written.
            SettingError: the disk is full or forbidden.
        """
        self.run.invariants.check_all(self.run)
        self.folder.refuse_lost()
        self._save()

    def save_snapshot(self) -> None:
        """Keep the weights of this step for `seer analyze`."""
        save_snapshot(self.folder.path, self.run.step, self.run.agent)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, which marks the run as finished, and reduce its checkpoints to the last one.

        Unless the settings keep the replay, its rows, most of the bytes by far, are left out.
        """
        self.folder.write_summary(summary)
        if not self.folder.config.get("keep_replay", False):
            self.run.replay.clear()
        self._save(keep=1)

    def _save(self, *, keep: int = 2) -> None:
        parts = self.run.state_dict() | {EVENTS: self.events.state_dict(), "settings": self.folder.config}
        self.last = save_checkpoint(self.folder.checkpoints, self.run.step, parts, keep=keep, before=self.last)
        self.last_step = self.run.step
