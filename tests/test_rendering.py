"""The choice of an OpenGL backend, on pretended machines; test_dm_control.py draws with it."""

import os
import subprocess
import sys

import pytest

from seer.environments import rendering
from seer.environments.rendering import Backend, choose_backend
from seer.errors import SettingError

choose = choose_backend.__wrapped__
"""Without the cache, in which the other tests keep this machine's backend."""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the backends that `choose` tries; none works."""
    names: list[str] = []
    monkeypatch.setattr(rendering, "BACKENDS", ("egl", "osmesa"))
    monkeypatch.setattr(rendering, "find_spec", lambda name: object())
    monkeypatch.setattr(rendering, "_try", names.append)
    monkeypatch.setenv("MUJOCO_GL", "")  # so that the variable is put back after `choose` has set it
    return names


def test_egl_comes_first_then_osmesa(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"MUJOCO_GL=egl or osmesa .*; apt-get install libegl1 libgl1 ") as refusal:
        choose()
    assert "\n" not in str(refusal.value)
    assert tried == ["egl", "osmesa"]
    assert os.environ["MUJOCO_GL"] == ""
    monkeypatch.setattr(rendering, "_try", lambda name: Backend(name, "x", 1.0) if name == "osmesa" else None)
    assert choose().name == "osmesa"
    assert os.environ["MUJOCO_GL"] == "osmesa"


def test_a_backend_that_the_user_chose_is_the_only_one_tried(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(SettingError, match=r"MUJOCO_GL=osmesa .* unset it, or .* libosmesa6"):
        choose()
    assert tried == ["osmesa"]


def test_a_backend_that_needs_a_screen_is_refused(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(SettingError, match=r"MUJOCO_GL=glfw .* egl or osmesa, or unset it"):
        choose()
    assert tried == []


def test_a_missing_dm_control_is_explained(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'seer-rl\[dm-control\]'"):
        choose()
    assert tried == []


@pytest.mark.parametrize("probe", ["raise SystemExit(1)", "import os; os.abort()", "print('no figures')"])
def test_a_backend_that_fails_crashes_or_babbles_does_not_work(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_PROBE", probe)
    assert rendering._try("egl") is None


def test_a_backend_that_hangs_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(subprocess, "run", hang)
    assert rendering._try("egl") is None


def test_the_line_says_what_draws_and_how_fast() -> None:
    gpu = Backend("egl", "NVIDIA H100/PCIe/SSE2", 812.3)
    assert str(gpu) == "Rendering with EGL on the GPU (NVIDIA H100/PCIe/SSE2): 812 images/s"
    assert "on the CPU (llvmpipe" in str(Backend("osmesa", "llvmpipe (LLVM 15.0.6, 256 bits)", 31.0))


def test_importing_the_environment_leaves_the_choice_open() -> None:
    code = "import sys, seer.environments.dm_control; print(*{'dm_control', 'mujoco', 'OpenGL'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []
