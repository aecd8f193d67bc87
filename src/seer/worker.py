"""Train one trial of a sweep in a process of its own: python -m seer.worker PARENT FOLDER, its config on stdin.

A sweep that is killed can't stop its trainings any more, and two trainings must never share cores that one sweep
counted on. Linux sends the training SIGTERM itself when the process PARENT dies, however it dies, and training answers
with a checkpoint. Elsewhere a training outlives its sweep, and the next sweep waits for it (`state_of`: busy).
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seer.signals import stop_with

if TYPE_CHECKING:
    from seer.config import Config


def main(parent: str, folder: str) -> None:
    """Read the trial's config and bring its run to an end; a user's mistake is one line on stderr and exit code 2."""
    stop_with(int(parent))
    from seer.config import config_from_json
    from seer.errors import SettingError

    try:
        train_trial(config_from_json(json.load(sys.stdin)), Path(folder))
    except SettingError as error:
        print(f"seer: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before the training listens for it
        sys.exit(130)


def train_trial(config: "Config", folder: Path) -> None:
    """Start the run in a new folder, or go on from its checkpoint with what `config` says of how it is made."""
    from seer.runs.folder import CHANGEABLE
    from seer.sweeps.trial import state_of
    from seer.trainer import resume_run, start_run

    if state_of(folder) == "resumable":
        resume_run(folder, {name: getattr(config, name) for name in CHANGEABLE - {"out"}})
    else:
        start_run(dataclasses.replace(config, out=str(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
