"""The signals that ask for an end."""

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM and, unless `nohup` hides it, the closing of the terminal: a run saves itself, then stops."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    heard = hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *((hangup,) if heard else ()))
