"""Settings for tests against the real LeRobot; without it each file says that it was skipped."""

from importlib.util import find_spec

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let LeRobot and the packages that it brings warn, as they do when imported: no change here could stop them."""
    if find_spec("lerobot") is not None:
        config.addinivalue_line("filterwarnings", "default")
