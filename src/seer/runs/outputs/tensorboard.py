"""TensorBoard's event files.

tensorboardX has a `SummaryWriter` above the `EventsWriter` that is used here. It writes in a thread of its own: on a
full disk that thread dies with a traceback in place of one line, and the process then waits for it at its end, forever.
"""

import time
from contextlib import suppress
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from seer.errors import writing_to
from seer.runs.outputs.base import Output, Record, State, scalars


class TensorBoardOutput(Output):
    """Write a record's numbers as kind/name."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: EventsWriter | None = None

    def open(self, state: State, *, after: int | None) -> None:  # noqa: ARG002 (its files need no state)
        """Begin a new event file; of a resumed run, let TensorBoard hide the events after step `after`."""
        # Event files are named by the second: numbered, two of the same second stay apart and in order.
        number = len(list(self._folder.glob("events.out.*")))
        with writing_to(self._folder):
            self._events = EventsWriter(str(self._folder / "events"), filename_suffix=f".{number:04d}")
        if after is not None:
            self._write(Event(step=after + 1, session_log=SessionLog(status=SessionLog.START)))

    def record(self, record: Record) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(record).items()]
        if values:
            self._write(Event(step=record["step"], summary=Summary(value=values)))

    def close(self) -> None:
        if self._events is not None:
            with suppress(OSError):  # a full disk has been reported
                self._events.close()

    def _write(self, event: Event) -> None:
        assert self._events is not None
        event.wall_time = time.time()
        with writing_to(self._folder):
            self._events.write_event(event)
            self._events.flush()
