"""Models that several files of tests read."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from .arcade import arcade, trained


@pytest.fixture(autouse=True, scope="module")
def _garbage() -> Iterator[None]:
    """Free the models of a file: they refer to themselves, and Python doesn't know how large their buffers are."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def frozen_dqn() -> Any:
    """A DQN 40 steps after its freeze, in two environments; tests only read it."""
    return trained("DQN", env=arcade(num_envs=2))
