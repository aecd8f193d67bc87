"""Execute the quick-start notebook, and keep the pictures and texts that it shows.

    python docs/tools/run_notebook.py    # minutes; writes examples/quick_start.ipynb

Outputs of commands are left out: they show times, which are another machine's.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples/quick_start.ipynb"


def execute(
    notebook: nbformat.NotebookNode, folder: Path, *, python: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run every cell in a kernel of its own, in `folder`; outputs go into the notebook.

    Args:
        python: the kernel's interpreter; default: the one that runs this.
        env: the kernel's environment variables; default: those of this process.

    Raises:
        CellExecutionError: a cell failed.
    """
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    if python is not None:
        assert kernel.kernel_spec is not None
        kernel.kernel_spec.argv[0] = str(python)
    client = NotebookClient(
        notebook, km=kernel, timeout=3600, resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    client.execute(**({} if env is None else {"env": dict(env)}))


def keep_small(notebook: nbformat.NotebookNode) -> None:
    """Drop the texts of cells that run a command, and what isn't shown."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            runs_command = any(line.lstrip().startswith(("!", "%")) for line in cell.source.splitlines())
            cell.outputs = [each for each in cell.outputs if not (runs_command and each.output_type == "stream")]


def main() -> None:
    """Execute the notebook in an empty folder and write it back."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    keep_small(notebook)
    nbformat.write(notebook, NOTEBOOK)
    print(f"wrote {NOTEBOOK}, {NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
