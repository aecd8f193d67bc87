"""Run folders that are in use, damaged or of another run: refused in one line, and left as they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from refusing import Capture, refused
from seer.runs.checkpoints import save_checkpoint
from tiny_run import FLAGS

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_run_folder_in_use_is_left_alone(stopped_run: Path, capsys: Capture) -> None:
    shutil.copytree(stopped_run, "run")
    line = refused(capsys, "train", *FLAGS, "--out", "run")
    assert "--out run" in line
    assert "seer resume run" in line
    Path("notes").mkdir()
    Path("notes/thesis.txt").write_text("years of work")
    assert "--out notes" in refused(capsys, "train", *FLAGS, "--out", "notes")
    assert "--out notes/thesis.txt" in refused(capsys, "train", *FLAGS, "--out", "notes/thesis.txt")
    assert "--out notes/thesis.txt/run" in refused(capsys, "train", *FLAGS, "--out", "notes/thesis.txt/run")


@pytest.mark.parametrize("command", ["resume", "eval", "plot"])
def test_what_is_no_run_is_refused(command: str, capsys: Capture) -> None:
    assert "nowhere" in refused(capsys, command, "nowhere")
    Path("empty").mkdir()
    assert "config.json" in refused(capsys, command, "empty")
    Path("empty/config.json").write_text("{'env':")
    assert "config.json" in refused(capsys, command, "empty")
    Path("empty/config.json").write_text("[1, 2]")
    assert "config.json" in refused(capsys, command, "empty")


@pytest.mark.parametrize("command", ["resume", "eval", "plot"])
def test_a_folder_must_be_given(command: str, capsys: Capture) -> None:
    assert "folder" in refused(capsys, command).lower()


def test_a_finished_run_is_not_resumed(finished_run: Path, capsys: Capture) -> None:
    shutil.copytree(finished_run, "run")
    line = refused(capsys, "resume", "run")
    assert "finished; seer resume run --steps N goes on past its 1000 steps" in line
    assert "seer eval" in line


def flip_a_byte(checkpoint: Path) -> None:
    file = checkpoint / "agent.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_short(checkpoint: Path) -> None:
    file = checkpoint / "state.json"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_file(checkpoint: Path) -> None:
    (checkpoint / "agent.safetensors").unlink()


def lose_all(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint.parent)


def write_another_program(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text(json.dumps({"model": "resnet"}))


def belong_to_another_encoder(checkpoint: Path) -> None:
    change_config(checkpoint.parents[1], learning={"encoder": "canonical"})


def belong_to_other_units(checkpoint: Path) -> None:
    change_config(checkpoint.parents[1], learning={"hidden_units": 77})


def belong_to_another_agent(checkpoint: Path) -> None:
    change_config(checkpoint.parents[1], value={"noisy": False, "dueling": False, "distributional": False})


def hold_other_parts(checkpoint: Path) -> None:
    save_checkpoint(checkpoint.parent, 31, {"weather": {"sunny": True}})


def change_config(run: Path, **groups: object) -> None:
    config = json.loads((run / "config.json").read_text())
    for name, change in groups.items():
        config[name] = config[name] | change if isinstance(change, dict) else change
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("command", ["resume", "eval"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte, cut_short, lose_a_file, lose_all, write_another_program, belong_to_another_encoder,
        belong_to_other_units, belong_to_another_agent, hold_other_parts,
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_checkpoint_is_refused(
    damage: Callable[[Path], None], command: str, stopped_run: Path, capsys: Capture
) -> None:
    """Nothing of the run is lost or added: it can be repaired and resumed."""
    shutil.copytree(stopped_run, "run")
    damage(Path("run/checkpoints/step-000000030"))
    assert "checkpoint" in refused(capsys, command, "run")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"steps": "many"}, "config.json"),
        ({"steps": 0}, "--steps"),
        ({"freeze": {"at": 700}}, "config.json"),
        ({"freeze": {"at": "99999"}}, "--freeze-at"),
        ({"learning": {"momentum": 0.9}}, "config.json"),
        ({"environment": "ALE/Pong-v5"}, "config.json"),
        ({"env": "ALE/Pnog-v5"}, "ALE/Pong-v5"),
        ({"replay": {"capacity": 301}}, "replay.capacity: 300 there"),
        ({"env": "ALE/Breakout-v5"}, "checkpoint"),
    ],
    ids=str,
)
def test_a_config_changed_by_hand_is_refused(
    groups: dict[str, object], said: str, stopped_run: Path, capsys: Capture
) -> None:
    shutil.copytree(stopped_run, "run")
    change_config(Path("run"), **groups)
    assert said in refused(capsys, "resume", "run")


def test_a_stopped_run_says_how_to_go_on(stopped_run: Path) -> None:
    assert (stopped_run / "checkpoints" / "step-000000030").is_dir()
    assert not (stopped_run / "summary.json").exists()


def test_bad_pictures_and_films(finished_run: Path, stopped_run: Path, capsys: Capture) -> None:
    shutil.copytree(stopped_run, "unfinished")
    assert "unfinished" in refused(capsys, "plot", "unfinished")  # no evaluation yet
    shutil.copytree(finished_run, "run")
    assert "--out" in refused(capsys, "plot", "run", "--out", "curve.docx")
    assert "--x" in refused(capsys, "plot", "run", "--x", "parsecs")
    Path("film.mp4").write_bytes(b"a wedding")
    assert "film.mp4" in refused(capsys, "eval", "run", "--episodes", "1", "--video", "film.mp4")
    assert ".mp4 or .gif" in refused(capsys, "eval", "run", "--episodes", "1", "--video", "film.webm")
    assert "folder" in refused(capsys, "eval", "run", "--episodes", "1", "--video", "nowhere/film.mp4")
    assert "--episodes 0" in refused(capsys, "eval", "run", "--episodes", "0")
    Path("run/metrics.jsonl").write_text('{"kind": "eval"\n{"kind": "train"}\n')
    assert "metrics.jsonl" in refused(capsys, "plot", "run")
    Path("run/metrics.jsonl").unlink()
    assert "metrics.jsonl" in refused(capsys, "plot", "run")
