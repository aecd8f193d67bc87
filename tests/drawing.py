"""Whether DeepMind Control can be drawn here, for tests that need it."""

import os

import pytest

from seer.envs.rendering import choose_backend
from seer.errors import SettingError


def needs_drawing() -> None:
    """Skip where dm_control isn't installed (it isn't from Python 3.13 on) or nothing draws; CI has to draw."""
    try:
        choose_backend()
    except SettingError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
