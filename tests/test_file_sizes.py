"""No file of the package, its tests, its benchmarks or its examples is longer than a reader keeps in mind."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 350


def too_long(root: Path, most: int = MOST_LINES) -> list[str]:
    """Return "file: lines" of each Python file under `root` with more lines than that."""
    lengths = {file.relative_to(root): len(file.read_text().splitlines()) for file in sorted(root.rglob("*.py"))}
    return [f"{file}: {lines}" for file, lines in lengths.items() if lines > most]


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_every_file_fits(folder: str) -> None:
    assert list((ROOT / folder).rglob("*.py"))
    assert too_long(ROOT / folder) == []


def test_a_longer_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_text("x = 1\n" * 350)
    (tmp_path / "long.py").write_text("x = 1\n" * 351)
    assert too_long(tmp_path) == ["long.py: 351"]
