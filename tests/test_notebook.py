"""The quick-start notebook: each cell is read, and `make test-all` runs all of them as a hosted notebook does."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import PIL.Image
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from test_documentation import read

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples/quick_start.ipynb"
CELLS = {cell.id: cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
CODE = {name: cell.source for name, cell in CELLS.items() if cell.cell_type == "code"}


def build_wheel(folder: Path) -> Path:
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], check=True, cwd=ROOT, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_it_is_a_short_story_kept_without_outputs() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert 8 <= len(CELLS) <= 12
    assert not any(CELLS[name].outputs or CELLS[name].execution_count for name in CODE)


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
    wheel = build_wheel(tmp_path)
    assert asked_in(tmp_path) == [f"{wheel}[sb3]"]


def execute(notebook: nbformat.NotebookNode, folder: Path, python: Path) -> None:
    """Run every cell in a kernel of this interpreter, in `folder`; outputs go into the notebook."""
    kernel = AsyncKernelManager(kernel_name="python3")
    assert kernel.kernel_spec is not None
    kernel.kernel_spec.argv[0] = str(python)
    place = {"metadata": {"path": str(folder)}}
    ours = ("PYTHONPATH", "MPLBACKEND")  # of the tests; a notebook's figures are drawn into it
    env = {name: value for name, value in os.environ.items() if name not in ours}
    client = NotebookClient(notebook, km=kernel, resources=place, startup_timeout=600, timeout=3600)
    client.owns_km = True  # it closes the kernel's sockets too
    client.execute(env=env)


@pytest.mark.slow
def test_it_runs_where_only_a_wheel_lies_beside_it(tmp_path: Path) -> None:
    """In a new environment that sees this one's packages but not seer, which the notebook installs."""
    build_wheel(tmp_path)
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = subprocess.run(
        [home / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # A .pth file within a folder that a .pth file adds isn't read: an editable installation of seer stays out of sight.
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib"))
    notebook = nbformat.read(shutil.copy(NOTEBOOK, tmp_path), as_version=4)
    asks = nbformat.v4.new_code_cell("print(seer.__file__)", id="asks")
    notebook.cells.append(asks)
    execute(notebook, tmp_path, home / "bin/python")
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    text = {name: "".join(each.get("text", "") for each in shown) for name, shown in outputs.items()}
    assert text["asks"].startswith(str(home))
    assert "encoder frozen" in text["train"]
    assert "points in" in text["play"]
    assert "convolutions frozen at step 600" in text["sb3"]
    pictures = {
        name: kind
        for name, shown in outputs.items()
        for each in shown
        for kind in each.get("data", {})
        if kind.startswith("image/")
    }
    assert pictures == {"curve": "image/png", "saved": "image/png", "play": "image/gif", "attention": "image/png"}
    (file,) = tmp_path.glob("runs/*/game.gif")
    with PIL.Image.open(file) as film:
        assert film.n_frames > 10
