"""The signals that ask for an end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def stop_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM and, unless `nohup` hides it, the closing of the terminal: a run saves itself, then stops."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    heard = hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *((hangup,) if heard else ()))


@contextmanager
def listening(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let the signals that ask for an end call `stop` and nothing else, inside `with`."""
    handlers = {number: signal.signal(number, stop) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
