"""Weights & Biases."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seer.errors import SettingError, shortened
from seer.runs.outputs.base import MOMENT, Output, Record, State, import_extra, scalars


class WandbOutput(Output):
    """Send a record's numbers to Weights & Biases; its own environment variables hold, such as WANDB_MODE=offline.

    Its step is the number of the record, as several records can be of one training step. Trained again after a crash,
    records come with the numbers they had; those that Weights & Biases has already are left out.
    """

    name = "wandb"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._wandb: Any = import_extra("wandb")
        self._run: Any = None

    def open(self, state: State, *, after: int | None) -> None:  # noqa: ARG002 (the state says it more exactly)
        """Begin a run there, or go on with the one in `state`.

        Raises:
            SettingError: Weights & Biases refuses, for want of a login for example.
        """
        self._id, self._records = state.get("id") or secrets.token_hex(4), state.get("records", 0)
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", "seer"),
                id=self._id,
                name=self.folder.name,
                dir=str(self.folder),
                config=dict(self.config),
                allow_val_change=True,
                resume="allow",
                settings=self._wandb.Settings(console="off"),  # the live line would fill its log
            )
        except Exception as error:
            raise SettingError(f"--log wandb: {shortened(error)}; log in there, or set WANDB_MODE=offline") from error
        self._run.define_metric("*", step_metric="step")

    def record(self, record: Record) -> None:
        """Send a record's numbers, with its step, frames, FLOPs and seconds."""
        if self._records >= self._run.step:
            numbers = scalars(record) | {name: record[name] for name in MOMENT}
            self._run.log(numbers, step=self._records, commit=True)
        self._records += 1

    def state_dict(self) -> State:
        """Return the run's id there, and how many records it was sent."""
        return {"id": self._id, "records": self._records}

    def close(self) -> None:
        """Wait until all is sent."""
        if self._run is not None:
            self._run.finish()
