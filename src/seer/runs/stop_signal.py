"""Remember requests to stop, until a run reaches a point at which it can be saved."""

from collections.abc import Callable
from contextlib import suppress
from types import FrameType


class Interrupted(Exception):
    """End a run that was asked to stop where it can't be saved; it can go on from its last checkpoint."""


class StopSignal:
    """Remember a request to stop.

    `request` is the handler of the signals that ask for it (`listening`). It only sets `requested`, so that the loop
    ends between two steps and a checkpoint can be written.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.requested = False
        self._say = say

    def raise_if_requested(self) -> None:
        """Stop at once if that was asked for.

        Raises:
            Interrupted: the run was asked to stop.
        """
        if self.requested:
            raise Interrupted

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Ask for a stop, and say so once."""
        if not self.requested:
            self.requested = True
            with suppress(RuntimeError):  # the signal came while this thread was writing there
                self._say("asked to stop: the run will be saved first")
