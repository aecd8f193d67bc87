"""The signals that ask for an end, and a run that ends once it can be saved."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def stop_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM and, unless `nohup` hides it, the closing of the terminal: a run saves itself, then stops."""
    heard = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if heard else ()))


@contextmanager
def listening(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let the signals that ask for an end call `stop` and nothing else, inside `with`."""
    handlers = {number: signal.signal(number, stop) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


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

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Ask for a stop, and say so once."""
        if not self.requested:
            self.requested = True
            with suppress(RuntimeError):  # the signal came while this thread was writing there
                self._say("asked to stop: the run will be saved first")


@contextmanager
def held_back() -> Iterator[None]:
    """Hold these signals back from processes that this thread starts meanwhile, until they `let_in` them."""
    resource_tracker.ensure_running()  # its start lets them in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_in(handler: signal.Handlers) -> None:
    """Let this process treat these signals so, also those that are held back."""
    numbers = stop_signals()
    for number in numbers:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def stop_with(parent: int) -> None:
    """Let Linux stop this process when `parent` dies, however it dies."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before
        sys.exit(f"process {parent} is gone")
