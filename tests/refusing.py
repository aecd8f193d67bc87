"""A command that is refused: one line, and nothing changed."""

from pathlib import Path

import pytest

from tiny_run import files, seer

Capture = pytest.CaptureFixture[str]
PONG = ("--env", "ALE/Pong-v5")


def refused(capsys: Capture, *arguments: object) -> str:
    """The one line on stderr with which `seer` refuses its arguments, having changed no file.

    It reads all files of the folder that the test runs in.
    """
    assert not Path("pyproject.toml").exists(), 'gigabytes of a checkout would be read: use the fixture "empty_folder"'
    capsys.readouterr()
    before = files(Path.cwd())
    assert seer(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("seer: error: ")
    assert output.err.endswith("\n")
    (line,) = output.err.splitlines()
    assert files(Path.cwd()) == before
    return line
