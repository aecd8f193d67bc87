"""Whether DeepMind Control can be drawn here, for tests that need it; and pictures that are drawn quickly."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from seer.envs.rendering import Renderer, choose_backend
from seer.errors import SettingError


def needs_drawing() -> None:
    """Skip where dm_control isn't installed (it isn't from Python 3.13 on) or nothing draws; CI has to draw."""
    try:
        choose_backend()
    except SettingError as error:
        if "CI" in os.environ and sys.version_info < (3, 13):
            raise
        pytest.skip(str(error))


@contextmanager
def without_shadows() -> Iterator[None]:
    """Draw without shadows, which take four fifths of the time; for runs of which no test looks at the pictures."""
    draw = Renderer.draw

    def plain(self: Renderer, model: Any, data: Any, *, size: int, shadows: bool) -> Any:
        return draw(self, model, data, size=size, shadows=False)

    with patch.object(Renderer, "draw", plain):
        yield
