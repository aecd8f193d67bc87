"""Outputs that send a run's numbers to a service: Weights & Biases, trackio."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from seer.errors import SettingError, shortened
from seer.runs.outputs.base import MOMENT, Output, Record, State, import_extra, scalars


class Service(Output):
    """Send records to the service of the package `name`; its own environment variables hold."""

    remedy: ClassVar[str]
    """What to do where the service refuses a run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._package: Any = import_extra(self.name)
        self._run: Any = None

    def open(self, state: State, *, after: int | None) -> None:  # noqa: ARG002 (no service forgets records)
        """Begin a run there, or go on with the one in `state`; SettingError where the service refuses."""
        try:
            self._run = self._begin(state)
        except Exception as error:
            raise SettingError(f"--log {self.name}: {shortened(error)}; {self.remedy}") from error

    def _begin(self, state: State) -> object:
        """Return the package's run, new or the one in `state`."""
        raise NotImplementedError

    def close(self) -> None:
        """Wait until all is sent."""
        if self._run is not None:
            self._package.finish()


class WandbOutput(Service):
    """Send a record's numbers to Weights & Biases.

    Its step is the number of the record, as several records can be of one training step. Trained again after a crash,
    records come with the numbers they had; those that Weights & Biases has already are left out.
    """

    name = "wandb"
    remedy = "log in there, or set WANDB_MODE=offline"

    def _begin(self, state: State) -> object:
        self._id, self._records = state.get("id") or secrets.token_hex(4), state.get("records", 0)
        run = self._package.init(
            project=os.environ.get("WANDB_PROJECT", "seer"),
            id=self._id,
            name=self.folder.name,
            dir=str(self.folder),
            config=dict(self.config),
            allow_val_change=True,
            resume="allow",
            settings=self._package.Settings(console="off"),  # the live line would fill its log
        )
        run.define_metric("*", step_metric="step")
        return run

    def record(self, record: Record) -> None:
        if self._records >= self._run.step:
            numbers = scalars(record) | {name: record[name] for name in MOMENT}
            self._run.log(numbers, step=self._records, commit=True)
        self._records += 1

    def state_dict(self) -> State:
        return {"id": self._id, "records": self._records}


class TrackioOutput(Service):
    """Send a record's numbers to trackio.

    trackio takes nothing back: records trained again after a crash are there twice, with the same numbers.
    """

    name = "trackio"
    remedy = "leave it out, or see to it"

    def _begin(self, state: State) -> object:
        # trackio knows a run by its name alone, and would go on with another of the same.
        self._name = state.get("name") or f"{self.folder.name}-{secrets.token_hex(4)}"
        return self._package.init(
            project=os.environ.get("TRACKIO_PROJECT", "seer"),
            name=self._name,
            config=dict(self.config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def record(self, record: Record) -> None:
        numbers = scalars(record) | {name: record[name] for name in MOMENT if name != "step"}
        self._run.log(numbers, step=record["step"])

    def state_dict(self) -> State:
        return {"name": self._name}
