"""Limit the time that a call of an environment may take."""

import faulthandler
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from seer.errors import RunError

GRACE = 30.0
"""Seconds after the limit until the process ends, where the call doesn't let Python raise."""


@contextmanager
def at_most(seconds: float, *, through_c: bool = False) -> Iterator[None]:
    """Raise an error inside `with` once it has taken so many seconds.

    Works in the main thread of systems with SIGALRM; elsewhere there is no limit. An exception can't reach code in C
    that never comes back to Python: with `through_c`, which costs a thread, the process then prints where it hangs and
    ends with exit code 1.

    Raises:
        RunError: it took longer.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise RunError(f"it took longer than {seconds:g} seconds (--env-timeout)")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if through_c and sys.__stderr__ is not None:
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if through_c:
            faulthandler.cancel_dump_traceback_later()
