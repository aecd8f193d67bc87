"""The quick-start notebook: each cell is read here, and all of it runs, as in a hosted notebook, in `make test-all`."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from run_notebook import NOTEBOOK, execute, keep_small
from test_documentation import read

ROOT = Path(__file__).parents[1]
CELLS = {cell.id: cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
CODE = {name: cell.source for name, cell in CELLS.items() if cell.cell_type == "code"}


def test_it_is_a_short_story_and_small() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert 8 <= len(CELLS) <= 12
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.parametrize("name", CODE)
def test_a_cell_is_python_and_its_commands_are_read(name: str) -> None:
    ast.parse(TransformerManager().transform_cell(CODE[name]))
    commands = re.findall(r"^!(seer .*)$", CODE[name].replace("\\\n", " "), re.MULTILINE)
    assert len(commands) == len(re.findall(r"^ *!", CODE[name], re.MULTILINE))
    for command in commands:
        read(command.replace("{run}", "runs/x"))


def test_one_cell_installs_and_names_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel beside the notebook, else the repository around it, else a line that says what is missing."""
    installing = [name for name, source in CODE.items() if "pip" in source]
    assert installing == ["install"]
    source = CODE["install"].replace('find_spec("seer")', 'find_spec("no_such_module")')
    source = re.sub(r"%pip install --quiet (\".*\")", r"asked.append(f\1)", source)
    monkeypatch.setenv("PATH", os.environ["PATH"])

    def asked_in(folder: Path) -> list[str]:
        monkeypatch.chdir(folder)
        asked: list[str] = []
        exec(source, {"asked": asked})
        return asked

    with pytest.raises(FileNotFoundError, match="No seer_rl"):
        asked_in(tmp_path)
    assert asked_in(NOTEBOOK.parent) == [f"{ROOT}[sb3]"]
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], check=True, cwd=ROOT, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert asked_in(tmp_path) == [f"{wheel}[sb3]"]


@pytest.mark.slow
def test_it_runs_where_only_a_wheel_lies_beside_it(tmp_path: Path) -> None:
    """In a new environment that sees this one's packages but not seer, which the notebook installs."""
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], check=True, cwd=ROOT, capture_output=True)
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = subprocess.run(
        [home / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # A .pth file within a folder that a .pth file adds isn't read: an editable installation of seer stays out of sight.
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib"))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    notebook = nbformat.read(shutil.copy(NOTEBOOK, tmp_path), as_version=4)
    execute(notebook, tmp_path, python=home / "bin/python", env=env)
    (run,) = (tmp_path / "runs").iterdir()
    text = {
        cell.id: "".join(each.get("text", "") for each in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    assert str(tmp_path) in subprocess.run(
        [home / "bin/python", "-c", "import seer; print(seer.__file__)"], check=True, capture_output=True, text=True,
        env=env, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert "encoder frozen" in text["train"]
    assert "points in" in text["play"]
    assert "convolutions frozen at step 1000" in text["sb3"]
    shown = [kind for cell in notebook.cells for each in cell.get("outputs", []) for kind in each.get("data", {})]
    assert [kind for kind in shown if kind.startswith("image/")] == ["image/png"] * 2 + ["image/gif", "image/png"]
    assert (run / "game.gif").stat().st_size > 10_000
    keep_small(notebook)
    assert len(nbformat.writes(notebook)) < 200_000
    assert "updates" not in nbformat.writes(notebook)
