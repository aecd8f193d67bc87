"""trackio: the records in a local database, or on Hugging Face."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seer.errors import SettingError, shortened
from seer.runs.outputs.base import MOMENT, Output, Record, State, import_extra, scalars


class TrackioOutput(Output):
    """Send a record's numbers to trackio; its own environment variables hold, such as TRACKIO_DIR.

    trackio takes nothing back: records trained again after a crash are there twice, with the same numbers.
    """

    name = "trackio"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._trackio: Any = import_extra("trackio")
        self._run: Any = None

    def open(self, state: State, *, after: int | None) -> None:  # noqa: ARG002 (nothing can be taken back)
        """Begin a run there, or go on with the one in `state`.

        Raises:
            SettingError: trackio refuses.
        """
        # trackio knows a run by its name alone, and would go on with another of the same.
        self._name = state.get("name") or f"{self.folder.name}-{secrets.token_hex(4)}"
        try:
            self._run = self._trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", "seer"),
                name=self._name,
                config=dict(self.config),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        except Exception as error:
            raise SettingError(f"--log trackio: {shortened(error)}; leave it out, or see to it") from error

    def record(self, record: Record) -> None:
        """Send a record's numbers, with its frames, FLOPs and seconds."""
        numbers = scalars(record) | {name: record[name] for name in MOMENT if name != "step"}
        self._run.log(numbers, step=record["step"])

    def state_dict(self) -> State:
        """Return the run's name there."""
        return {"name": self._name}

    def close(self) -> None:
        """Wait until all is sent."""
        if self._run is not None:
            self._trackio.finish()
