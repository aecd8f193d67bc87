"""The wheel as a user installs it: into new environments, with each extra, without the pins of constraints.txt.

A release of somebody else's that breaks seer shows here. Slow: each environment takes a minute, and pip needs an
index. The table at the end (conftest.py) says which versions pip chose.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from drawing import needs_drawing
from tiny_run import CONTROL_FLAGS as CONTROL
from tiny_sweep import SETTINGS, write_grid

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = {
    extra: [canonicalize_name(Requirement(each).name) for each in requirements]
    for extra, requirements in PROJECT["optional-dependencies"].items()
    if extra not in ("dev", "lerobot")  # LeRobot's torch and mujoco are older than the other extras': `make lerobot`
}
ATARI = ("--env", "ALE/Pong-v5", "--freeze-at", 160, *(part for k, v in SETTINGS.items() for part in (f"--{k}", v)))
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")


class Home:
    """A new environment, and a folder that its commands run in, far from this repository."""

    def __init__(self, path: Path) -> None:
        self.path, self.python = path, path / "environment" / "bin" / "python"
        self.variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MUJOCO_GL")}
        self.variables["PIP_CONSTRAINT"] = ""
        self.run(sys.executable, "-m", "venv", "--without-pip", path / "environment")

    def run(self, *command: object, code: int = 0) -> str:
        """What a command prints; it has to end with `code`."""
        done = subprocess.run(
            list(map(str, command)), cwd=self.path, env=self.variables, capture_output=True, text=True, timeout=3600,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def seer(self, *arguments: object, code: int = 0) -> str:
        return self.run(self.python.with_name("seer"), *arguments, code=code)

    def pip(self, *arguments: object) -> None:
        self.run(sys.executable, "-m", "pip", "--python", self.python, "--quiet", *arguments)

    def install(self, *arguments: object) -> None:
        self.pip("install", "--no-compile", *arguments)

    def versions(self) -> dict[str, str]:
        code = "from importlib import metadata\nfor each in metadata.distributions(): print(each.name, each.version)"
        lines = self.run(self.python, "-c", code).splitlines()
        return {canonicalize_name(name): version for name, version in map(str.split, lines)}


def controls(home: Home) -> None:
    """Also what is said where mujoco is too new: OpenGL has nothing to do with it."""
    needs_drawing()
    home.seer("train", *CONTROL, "--out", "control")
    home.pip("uninstall", "--yes", "mujoco")  # an upgrade in place would delete files of mujoco 4's other packages
    home.install("dm_control==1.0.50", "mujoco==4.0.0")
    (line,) = home.seer("train", *CONTROL, "--out", "too-new", code=2).splitlines()
    assert "dm_control 1.0.50 with mujoco 4.0.0" in line
    assert "flex_vertedge" in line
    assert "pip install 'seer-rl[dm-control]'" in line
    assert "apt-get" not in line


def benches(home: Home) -> None:
    assert "sb3-dqn/update" in home.run(home.python, ROOT / "benchmarks/speed.py", "--quick", "--agents", "rainbow")
    assert "Stable-Baselines3" in home.run(home.python, ROOT / "benchmarks/memory.py", "--quick")


def trains_with_sb3(home: Home) -> None:
    """The example of the page, with fewer steps."""
    page = (ROOT / "docs/quick_start/stable_baselines3.md").read_text()
    script = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    for long, short in (("1_000_000", "600"), ("100_000", "600"), ("50_000", "300")):
        assert long in script
        script = script.replace(long, short)
    assert "frozen at step 300" in home.run(home.python, "-c", script)


def exports(home: Home) -> None:
    home.seer("export", "atari", "--onnx", "--observations", 16)
    assert (home.path / "atari" / "onnx" / "agent.onnx").exists()


def sweeps(home: Home) -> None:
    grid = write_grid(home.path, seeds=1)
    assert "2 of 2 runs finished" in home.seer("sweep", grid, "--out", "sweep", "--ray", "local", "--no-measure")


def films(home: Home) -> None:
    home.seer("eval", "atari", "--episodes", 1, "--video", "game.mp4")
    count = "import imageio_ffmpeg; print(imageio_ffmpeg.count_frames_and_secs('game.mp4')[0])"
    assert int(home.run(home.python, "-c", count)) >= SETTINGS["max-episode-steps"]


def logs_to_wandb(home: Home) -> None:
    home.variables["WANDB_MODE"] = "offline"
    home.seer("train", *ATARI, "--log", "wandb", "--out", "wandb-run")
    (file,) = (home.path / "wandb-run" / "wandb").glob("offline-run-*/*.wandb")
    assert b"train/loss" in file.read_bytes()


def logs_to_trackio(home: Home) -> None:
    home.variables["TRACKIO_DIR"] = str(home.path / "trackio")
    home.seer("train", *ATARI, "--log", "trackio", "--out", "trackio-run")
    with closing(sqlite3.connect(home.path / "trackio" / "seer.db")) as database:
        rows = database.execute("select step from metrics").fetchall()
    records = (home.path / "trackio-run" / "metrics.jsonl").read_text().splitlines()
    assert [step for (step,) in rows] == [json.loads(record)["step"] for record in records]


def builds_the_pages(home: Home) -> None:
    assert "No issues found" in home.run(home.python, ROOT / "docs/tools/build_site.py")


JOBS: dict[str, Callable[[Home], None]] = {
    "dm-control": controls, "bench": benches, "sb3": trains_with_sb3, "export": exports, "ray": sweeps, "video": films,
    "wandb": logs_to_wandb, "trackio": logs_to_trackio, "docs": builds_the_pages,
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], check=True, cwd=ROOT, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_every_extra_has_a_job() -> None:
    assert EXTRAS.keys() == JOBS.keys()


@pytest.mark.parametrize(
    "extras", [(), *((extra,) for extra in EXTRAS), tuple(EXTRAS)], ids=["no extra", *EXTRAS, "every extra"]
)
def test_the_wheel_works_without_the_pins(
    extras: tuple[str, ...], wheel: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if "dm-control" in extras and sys.version_info >= (3, 13):
        pytest.skip("labmaze, which dm_control requires, has no wheel for this Python")
    start, home = time.monotonic(), Home(tmp_path)
    # The build of torch that is here, perhaps without CUDA's gigabytes: the only version that isn't pip's choice.
    torch = f"torch=={metadata.version('torch')}"
    index = ("--extra-index-url", TORCH_INDEX) if TORCH_INDEX else ()
    home.install("--no-deps", "--retries", 1, "--timeout", 15, *index, torch)
    home.install(f"{wheel}[{','.join(extras)}]" if extras else wheel)
    installed, versions = time.monotonic(), home.versions()
    assert str(tmp_path) in home.run(home.python, "-c", "import seer; print(seer.__file__)")
    home.seer("train", *ATARI, "--out", "atari")
    for extra in extras:
        JOBS[extra](home)
    if "dm-control" not in extras:
        (line,) = home.seer("train", *CONTROL, "--out", "control", code=2).splitlines()
        assert "pip install 'seer-rl[dm-control]'" in line
    names = ["torch", "numpy", "gymnasium", "ale-py", *(name for extra in extras for name in EXTRAS[extra])]
    record_property(
        "installation",
        {
            "extras": ", ".join(extras) or "none",
            "seconds": f"{installed - start:.0f} + {time.monotonic() - installed:.0f}",
            "ran": ", ".join(["atari", *(JOBS[extra].__name__ for extra in extras)]),
            "versions": ", ".join(f"{name} {versions[name]}" for name in dict.fromkeys(names)),
        },
    )
    shutil.rmtree(home.python.parents[1])  # 2 GB each; pytest keeps the rest
