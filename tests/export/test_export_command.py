"""`seer export`: refusals, and runs that were interrupted."""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from kept_run import keep_run
from seer.training.observations import play
from tiny_run import files, seer

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "write seer export RUN --onnx"),
        (["--onnx", "--observations", "1"], "--observations 1"),
        (["--onnx", "--out", "taken"], "taken exists"),
        (["--onnx", "--out", "nowhere/onnx"], "no folder nowhere"),
        (
            ["--onnx", "--out", "/proc/onnx", "--observations", "9999999"],
            "--out /proc/onnx can't be written",
        ),  # at once
        (["--tflite"], "--tflite"),
    ],
)
def test_bad_flags_are_one_line_and_change_nothing(
    flags: list[str], words: str, finished_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = files(finished_run)
    with contextlib.chdir(tmp_path):
        Path("taken").mkdir()
        assert seer("export", finished_run, *flags) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert files(finished_run) == before


def test_folders_without_an_agent_are_one_line(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "config.json").write_bytes((finished_run / "config.json").read_bytes())
    for folder, words in ((tmp_path / "none", "is no run"), (tmp_path, "holds no checkpoint")):
        assert seer("export", folder, "--onnx") == 2
        complaint = capsys.readouterr().err
        assert words in complaint
        assert complaint.count("\n") == 1
    for name in [name for name in sys.modules if name.startswith("seer.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it weren't installed
    assert seer("export", finished_run, "--onnx", "--out", tmp_path / "onnx") == 2
    assert "pip install 'seer-rl[export]'" in capsys.readouterr().err


def test_an_agent_without_a_policy_here_is_refused_before_anything_is_played(tmp_path: Path, capsys: Capture) -> None:
    keep_run(tmp_path / "run", "drqv2")
    assert seer("export", tmp_path / "run", "--onnx") == 2
    said = capsys.readouterr()
    assert "knows no policy of DrqV2" in said.err
    assert "playing" not in said.out


def test_a_run_under_way_is_exported_as_far_as_it_had_come(
    stopped_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The step that the files are said to be of is that of their weights, whatever the run writes meanwhile."""
    run = shutil.copytree(stopped_run, tmp_path / "run")

    def play_and_go_on(*arguments: Any, **flags: Any) -> Any:
        seen = play(*arguments, **flags)
        (run / "checkpoints/step-000000030").rename(run / "checkpoints/step-000000031")
        return seen

    monkeypatch.setattr("seer.export.run.play", play_and_go_on)
    assert seer("export", run, "--onnx", "--observations", "4") == 0
    about, said = json.loads((run / "onnx/export.json").read_text()), capsys.readouterr().out
    assert (about["step"], about["encoder_frozen"]) == (30, False)
    assert "step-000000030" in said
    assert "the encoder isn't frozen" in " ".join(said.split())
