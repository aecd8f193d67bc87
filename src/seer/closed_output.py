"""Keep working when standard output closes: its reader was `head`, or the terminal was shut."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

CLOSED = {errno.EPIPE, errno.EIO}
"""Errors of a closed pipe and of a closed terminal; a full disk is another matter."""


class ClosableStream:
    """Write to a stream until it closes, and from then on to nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text to the stream."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered to the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _discard(self, error: OSError) -> None:
        """Send what is buffered nowhere too, of which Python would complain at its end."""
        if error.errno not in CLOSED:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def surviving_closed_output() -> Iterator[None]:
    """Let standard output close without an error, inside this context."""
    with redirect_stdout(cast(TextIO, ClosableStream(sys.stdout))):
        yield
        sys.stdout.flush()
