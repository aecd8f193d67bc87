"""The choice of an OpenGL backend, on pretended machines; test_dm_control.py draws with it."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from seer.envs import backends, rendering
from seer.envs.backends import Backend, answer_of
from seer.envs.rendering import choose_backend
from seer.errors import SettingError

choose = choose_backend.__wrapped__
"""Without the cache, in which the other tests keep this machine's backend."""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the backends that `choose` tries; none works, though simulations run."""
    names: list[str] = []

    def fail(program: str, *, gl: str) -> str:
        names.append(gl)
        return f"no lib{gl}"

    monkeypatch.setattr(rendering, "find_spec", lambda name: object())
    monkeypatch.setattr(backends, "answer_of", fail)
    monkeypatch.setattr(rendering, "_SIMULATION", "print('{}')")
    monkeypatch.setenv("MUJOCO_GL", "")  # so that the variable is put back after `choose` has set it
    return names


def test_egl_comes_first_then_osmesa(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"MUJOCO_GL=egl or osmesa .*; apt-get install libegl1 libgl1 ") as refusal:
        choose()
    assert str(refusal.value).endswith("Reason: egl: no libegl, osmesa: no libosmesa")
    assert "\n" not in str(refusal.value)
    assert tried == ["egl", "osmesa"]
    assert os.environ["MUJOCO_GL"] == ""
    works = {"device": "x", "images_per_second": 1.0}
    monkeypatch.setattr(backends, "answer_of", lambda _, gl: works if gl == "osmesa" else "")
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


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise AttributeError('no\\n  flex_vertedge')", "AttributeError: no flex_vertedge"),
        ("import mujoco_of_tomorrow", "ModuleNotFoundError: No module named 'mujoco_of_tomorrow'"),
    ],
)
def test_what_fails_without_a_picture_too_is_not_blamed_on_opengl(
    program: str, reason: str, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """test_installation.py has the real case, dm_control 1.0.50 with mujoco 4."""
    versions = {"dm_control": "1.0.50", "mujoco": "4.0.0"}
    monkeypatch.setattr(rendering, "_SIMULATION", program)
    monkeypatch.setattr(rendering.metadata, "version", versions.__getitem__)
    with pytest.raises(SettingError) as refusal:
        choose()
    said = str(refusal.value)
    assert f"dm_control 1.0.50 with mujoco 4.0.0: {reason}; pip install 'seer-rl[dm-control]'" in said
    assert "apt-get" not in said
    assert "\n" not in said


def test_a_missing_mujoco_is_named(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_SIMULATION", "import mujoco_of_tomorrow")

    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(rendering.metadata, "version", version)
    with pytest.raises(SettingError, match="no dm_control with no mujoco: ModuleNotFoundError"):
        choose()


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("raise SystemExit(1)", "ended with code 1"),
        ("import os; os.abort()", "ended with code -6"),
        ("print('no figures')", "ended with code 0"),
        ("raise OSError('no device')", "OSError: no device"),
    ],
)
def test_a_backend_that_fails_crashes_or_babbles_does_not_work(probe: str, reason: str) -> None:
    assert answer_of(probe, gl="egl") == reason


def test_a_backend_that_hangs_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(subprocess, "run", hang)
    assert answer_of("", gl="egl") == "no answer in 300 seconds"


def test_the_line_says_what_draws_and_how_fast() -> None:
    gpu = Backend("egl", "NVIDIA H100/PCIe/SSE2", 812.3)
    assert str(gpu) == "Rendering with EGL on the GPU (NVIDIA H100/PCIe/SSE2): 812 images/s"
    assert "on the CPU (llvmpipe" in str(Backend("osmesa", "llvmpipe (LLVM 15.0.6, 256 bits)", 31.0))


def test_importing_the_environment_leaves_the_choice_open() -> None:
    code = "import sys, seer.envs.dm_control; print(*{'dm_control', 'mujoco', 'OpenGL'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []
