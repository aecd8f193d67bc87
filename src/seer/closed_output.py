"""Standard output that may lose its reader, `head` or a closed terminal, without the work being lost with it."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

READERLESS = {errno.EPIPE, errno.EIO}
"""Of a pipe, and of a terminal; a full disk is another matter."""


class Unread:
    """A stream of which nothing more is kept once its reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream's own."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """As the stream's own."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        """What is buffered goes nowhere too: Python would complain of it at its end."""
        if error.errno not in READERLESS:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def outliving_readers() -> Iterator[None]:
    """Inside, standard output that nobody reads any more stops nothing."""
    with redirect_stdout(cast(TextIO, Unread(sys.stdout))):
        yield
        sys.stdout.flush()
