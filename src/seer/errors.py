"""The exceptions that the command line prints as a single line."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class SettingError(ValueError):
    """A setting, file or folder the program can't work with.

    The message is one line: what is wrong, the setting's name, and the remedy.
    """


class RunError(SettingError):
    """A run can't go on, through no setting: its environment failed, a disk is full.

    The message is one line and says what happened; whoever knows the run adds the step and the way on.
    """


class LearningError(RunError):
    """A run went wrong by itself: a loss is no number, a game never ends, an invariant broke. Going on from its last
    checkpoint would lead there again."""


@contextmanager
def writing_to(target: object, remedy: str = "make room there") -> Iterator[None]:
    """Turn the system's error inside `with` into one line: a full or forbidden disk."""
    try:
        yield
    except OSError as error:
        raise SettingError(f"{target} can't be written ({error.strerror}): {remedy}") from error


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Put a name before what is wrong inside `with`: of a flag, a file or a trial."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{place}: {error}") from error


def shortened(error: Exception, *, limit: int = 300) -> str:
    """What somebody else's code raised, as part of one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:limit]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest of the known names, for the middle of a line; nothing where none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""
