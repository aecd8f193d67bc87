"""The choice of an OpenGL backend for Gymnasium's MuJoCo environments; test_gymnasium.py draws with it."""

import os

import pytest

from seer.envs import backends
from seer.envs.backends import choose_mujoco_backend
from seer.errors import SettingError

choose = choose_mujoco_backend.__wrapped__


@pytest.mark.parametrize(
    ("wanted", "works", "chosen", "said"),
    [
        ("", "egl osmesa", "egl", ""),
        ("", "osmesa", "osmesa", ""),
        ("osmesa", "egl osmesa", "osmesa", ""),
        ("", "", None, "MuJoCo can't be drawn here: MUJOCO_GL=egl or osmesa doesn't work; apt-get install libegl1"),
        ("osmesa", "egl", None, "MUJOCO_GL=osmesa doesn't work; unset it, or apt-get"),
        ("glfw", "egl", None, "MUJOCO_GL=glfw can't draw without a screen: set it to egl or osmesa"),
    ],
)
def test_egl_comes_first_and_the_user_s_choice_is_kept(
    wanted: str, works: str, chosen: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", wanted)
    drawn = {"device": "x", "images_per_second": 1.0}
    monkeypatch.setattr(backends, "answer_of", lambda _, gl: drawn if gl in works.split() else f"no lib{gl}")
    if chosen is None:
        with pytest.raises(SettingError, match=said):
            choose()
    else:
        assert choose().name == os.environ["MUJOCO_GL"] == chosen
