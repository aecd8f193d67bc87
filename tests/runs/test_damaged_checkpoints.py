"""Checkpoints that were damaged or made by others are refused, with the file and the way on."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from saved_states import is_example, reseal, save_example
from seer.errors import SettingError
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test pulls the machine's plug, so none has to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Damage ----------------------------------------------------------------------------------------------------


def flip(position: float) -> Any:
    def change(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(position * (len(content) - 1))] ^= 1
        file.write_bytes(content)

    return change


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def link_elsewhere(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


DAMAGES = {
    **{f"flip {position}": flip(position) for position in (0, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1)},
    "truncate": truncate,
    "append": append,
    "empty": lambda file: file.write_bytes(b""),
    "delete": Path.unlink,
    "foreign JSON": lambda file: file.write_text('{"a": 1}'),
    "foreign list": lambda file: file.write_text("[" * 100_000),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["agent.safetensors", "replay.safetensors", "state.json"])
def test_damage_is_refused_with_file_and_remedy(tmp_path: Path, name: str, damage: str) -> None:
    save_example(tmp_path, 10)
    path = save_example(tmp_path, 20)
    DAMAGES[damage](path / name)
    with pytest.raises(SettingError, match="checkpoint") as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert f"delete {path} to go on from step-000000010" in message
    shutil.rmtree(path)
    assert is_example(latest_checkpoint(tmp_path), 10)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    path = save_example(tmp_path, 10)
    link_elsewhere(path / "agent.safetensors")
    with pytest.raises(SettingError, match=r"agent\.safetensors is missing; no other checkpoint is left"):
        load_checkpoint(path)


def test_only_whole_checkpoints_are_recommended(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save_example(tmp_path, step, keep=3)
    truncate(tmp_path / "step-000000020" / "agent.safetensors")
    truncate(tmp_path / "step-000000030" / "state.json")
    with pytest.raises(SettingError, match="to go on from step-000000010"):
        load_checkpoint(tmp_path / "step-000000030")
    truncate(tmp_path / "step-000000010" / "agent.safetensors")
    with pytest.raises(SettingError, match="start the run again with another --out"):
        load_checkpoint(tmp_path / "step-000000030")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 1}, "has version 1, this seer reads version 2: use the seer that wrote it"),
        ({"format": "other"}, "is foreign: seer didn't write it"),
        ({"parts": {"../escape": {}}}, "doesn't fit its folder (KeyError('../escape.safetensors'))"),
        ({"files": {"../escape.safetensors": {}}}, "is foreign: it names a file '../escape.safetensors'"),
        ({"parts": {"missing": {}}}, "doesn't fit its folder"),
        ({"parts": {"agent": {"a": {"$tensor": "agent/none"}}}}, "doesn't fit its folder"),
        ({"parts": {"agent": {"a": {"$int": "zz"}}}}, "doesn't fit its folder"),
        ({"parts": [3]}, "doesn't fit its folder"),
        ({"files": {"agent.safetensors": {"size": 1}}}, "doesn't fit its folder"),
    ],
)
def test_a_state_file_made_by_others_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = save_example(tmp_path, 10)
    reseal(path)
    assert is_example(path, 10)
    reseal(path, **changes)
    with pytest.raises(SettingError) as caught:
        load_checkpoint(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(SettingError, match=r"is unfinished or none: it has no state\.json"):
            load_checkpoint(path)
