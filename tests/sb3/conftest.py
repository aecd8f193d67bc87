"""Models that several files of tests read."""

from typing import Any

import pytest

from .arcade import arcade, trained


@pytest.fixture(scope="session")
def frozen_dqn() -> Any:
    """A DQN 40 steps after its freeze, in two environments; tests only read it."""
    return trained("DQN", env=arcade(num_envs=2))
