"""Folders that one worker of pytest-xdist makes and all read."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], bool]) -> Path:
    """Return a folder that the first worker to come here makes; `make` is told where, and says whether it worked."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            assert make(folder / "run")
            (folder / "made").touch()
    return folder / "run"
