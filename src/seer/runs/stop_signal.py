"""Remember requests to stop, until a run reaches a point at which it can be saved."""

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from seer.signals import stop_signals


class Interrupted(Exception):
    """End a run that was asked to stop where it can't be saved; it can go on from its last checkpoint."""


class StopSignal:
    """Remember a request to stop.

    Inside `with`, Ctrl-C, SIGTERM and a closed terminal only set `requested`, so that the loop ends between two steps
    and a checkpoint can be written.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.requested = False
        self._say = say

    def __enter__(self) -> "StopSignal":
        self._handlers = {number: signal.signal(number, self._request) for number in stop_signals()}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def raise_if_requested(self) -> None:
        """Stop at once if that was asked for.

        Raises:
            Interrupted: the run was asked to stop.
        """
        if self.requested:
            raise Interrupted

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            with suppress(RuntimeError):  # the signal came while this thread was writing there
                self._say("asked to stop: the run will be saved first")
