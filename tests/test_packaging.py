"""What is installed: the version, the command, the wheel's contents and the pins."""

import itertools
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import seer

ROOT = Path(__file__).parents[1]


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert metadata.version("seer-rl") == seer.__version__


def test_the_command_is_installed_and_loads() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="seer")
    assert callable(command.load())


def test_importing_seer_loads_no_dependency() -> None:
    code = "import sys, seer; print(*sorted({'gymnasium', 'numpy', 'rich', 'torch'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []


def test_the_wheel_holds_the_typed_package_and_asks_for_what_there_is(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], check=True, cwd=ROOT, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/seer").rglob("*.py")}
    others = {"seer/py.typed", "seer/reporting/report.html.jinja", "seer/trained/card.md.jinja"}
    assert sources | others == {name for name in names if ".dist-info/" not in name}
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("/METADATA"))).decode()
    no_wheels = re.findall(r"^Requires-Dist: ((?:dm-control|mujoco)\b.*)$", metadata, re.MULTILINE)
    assert len(no_wheels) == 4  # of the extra itself and of dev
    assert not any(Requirement(line).marker.evaluate({"python_version": "3.13", "extra": "dev"}) for line in no_wheels)  # type: ignore[union-attr]


def test_every_requirement_is_pinned_within_its_range() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    pins = {canonicalize_name(name): pin for name, pin in re.findall(r"(?m)^([\w.-]+)==(\S+)$", constraints)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["lerobot"]  # in an environment of its own: its torch is older than the pins
    wanted = itertools.chain(project["dependencies"], *extras.values())
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != project["name"]:
            assert requirement.specifier.contains(pins[name]), f"{requirement} is pinned to {pins[name]}"
