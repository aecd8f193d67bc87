"""Checkpoints: which are kept, which is the latest, and no crash loses a run."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from saved_states import is_example, reseal, save_example
from seer.errors import SettingError
from seer.replay import Piece
from seer.runs import checkpoints as checkpoint
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test pulls the machine's plug, so none has to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Which checkpoint is kept, and which is the latest ---------------------------------------------------------


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        path = save_example(tmp_path, step)
        assert latest_checkpoint(tmp_path) == path
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-000000020", "step-000000030"]
    assert is_example(tmp_path / "step-000000020", 20)


def test_steps_of_more_than_nine_digits_stay_in_order(tmp_path: Path) -> None:
    for step in (999_999_999, 1_000_000_000, 10_000_000_000):
        save_example(tmp_path, step)
    assert latest_checkpoint(tmp_path).name == "step-10000000000"
    assert (tmp_path / "step-1000000000").is_dir()


def test_a_run_taken_back_drops_its_former_future(tmp_path: Path) -> None:
    for step in (10, 20):
        save_example(tmp_path, step)
    save_example(tmp_path, 15)
    assert latest_checkpoint(tmp_path).name == "step-000000015"
    assert not (tmp_path / "step-000000020").exists()
    assert is_example(tmp_path / "step-000000010", 10)


def test_the_same_step_again_replaces(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 10, {"agent": {"number": 1}})
    path = save_checkpoint(tmp_path, 10, {"agent": {"number": 2}})
    assert load_checkpoint(path) == {"agent": {"number": 2}}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-000000010"]


@pytest.mark.parametrize("pointer", ["step-000000010\n", "step-000000020\n", "step-000000099\n", ""])
def test_the_pointer_of_earlier_versions_changes_nothing(tmp_path: Path, pointer: str) -> None:
    """One that was killed before it moved the pointer had the newer checkpoint complete already."""
    for step in (10, 20):
        save_example(tmp_path, step)
    (tmp_path / "latest").write_text(pointer)
    assert latest_checkpoint(tmp_path).name == "step-000000020"
    assert latest_checkpoint(save_example(tmp_path, 30).parent).name == "step-000000030"
    assert (tmp_path / "latest").read_text() == pointer


def test_no_checkpoint_at_all_is_one_line(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SettingError, match="holds no checkpoint") as caught:
            latest_checkpoint(root)
        assert "\n" not in str(caught.value)


def piece(name: str, content: int) -> Piece:
    return Piece(name, lambda: torch.full((1000,), content, dtype=torch.uint8))


def test_pieces_of_the_checkpoint_before_are_not_written_again(tmp_path: Path) -> None:
    def save(step: int, names: dict[str, int], before: Path | None) -> Path:
        memory = [piece(name, content) for name, content in names.items()]
        return save_checkpoint(tmp_path, step, {"replay": {"memory": memory}}, before=before)

    first = save(1, {"frames-0-5": 1, "frames-1-9": 2}, None)
    second = save(2, {"frames-0-5": 77, "frames-1-12": 3}, first)  # 77 is never read: the name says it is there
    shared, new = (second / f"piece-frames-{name}.safetensors" for name in ("0-5", "1-12"))
    assert shared.samefile(first / shared.name)
    assert not (first / new.name).exists()
    loaded = load_checkpoint(second)["replay"]["memory"]
    assert [(each.name, int(each.read()[0])) for each in loaded] == [("frames-0-5", 1), ("frames-1-12", 3)]
    shutil.rmtree(first)
    assert int(load_checkpoint(second)["replay"]["memory"][0].read()[-1]) == 1
    os.truncate(shared, shared.stat().st_size - 1)  # what isn't as it was is written again, not taken over
    third = save(3, {"frames-0-5": 1}, second)
    assert int(load_checkpoint(third)["replay"]["memory"][0].read()[0]) == 1


def test_without_hard_links_pieces_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    first = save_checkpoint(tmp_path, 1, {"replay": {"memory": [piece("frames-0-5", 1)]}})
    second = save_checkpoint(tmp_path, 2, {"replay": {"memory": [piece("frames-0-5", 9)]}}, before=first)
    assert int(load_checkpoint(second)["replay"]["memory"][0].read()[0]) == 1


@pytest.mark.parametrize("name", ["../x-1", "frames", "frames-1/../../x", "Frames-1", "frames-1\n"])
def test_names_of_pieces_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="piece name"):
        save_checkpoint(tmp_path, 1, {"replay": {"memory": [piece(name, 1)]}})
    path = save_checkpoint(tmp_path, 1, {"replay": {"memory": [piece("frames-0-1", 1)]}})
    reseal(path, parts={"replay": {"memory": [{"$piece": name}]}})
    with pytest.raises(SettingError, match="doesn't fit its folder"):
        load_checkpoint(path)


# Crashes ---------------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """Nothing after it runs, no more than after SIGKILL."""


def cut_power_at(monkeypatch: pytest.MonkeyPatch, event: int) -> None:
    """Let the `event`-th call that changes the disk be the last thing that doesn't happen."""
    calls = itertools.count()

    def guard(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == event:
                if name == "rmtree":  # cut off half-way
                    next(args[0].glob("*.safetensors")).unlink()
                raise PowerCut
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, guarded)

    for owner, name in ((os, "fsync"), (shutil, "rmtree"), (checkpoint, "write_blocks")):
        guard(owner, name)
    for name in ("replace", "mkdir", "unlink"):
        guard(Path, name)


@pytest.mark.parametrize(("step", "keep"), [(30, 2), (30, 1), (20, 2), (20, 1), (15, 2)])
def test_a_crash_at_any_moment_leaves_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, keep: int
) -> None:
    for event in itertools.count():
        root = tmp_path / str(event)
        for earlier in (10, 20):
            save_example(root, earlier, keep=keep)
        with monkeypatch.context() as patch:
            cut_power_at(patch, event)
            try:
                save_example(root, step, keep=keep)
                finished = True
            except PowerCut:
                finished = False
        latest = latest_checkpoint(root)
        number = int(latest.name.rpartition("-")[2])
        assert number in ({step} if finished else {20, step})
        assert is_example(latest, number)
        for folder in checkpoint.complete_folders(root):  # what a damaged one would send its reader to
            load_checkpoint(folder)
        save_example(root, 40, keep=keep)
        assert is_example(latest_checkpoint(root), 40)
        assert len(list(root.iterdir())) <= keep  # nothing half-done stays
        if finished:
            break
    assert event > 10


ENDLESS_SAVES = """
import itertools, sys, torch
from pathlib import Path
from seer.runs.checkpoints import save_checkpoint
for step in itertools.count(1):
    big = torch.full((1 << 20,), step % 256, dtype=torch.uint8)
    save_checkpoint(Path(sys.argv[1]), step, {"agent": {"number": step}, "replay": {"bytes": big}})
    print(step, flush=True)
"""


def test_a_killed_process_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS_SAVES, tmp_path], stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
        reported = 1 + len(writer.stdout.readlines())
    loaded = load_checkpoint(latest_checkpoint(tmp_path))
    number = loaded["agent"]["number"]
    assert number in (reported, reported + 1)
    assert (loaded["replay"]["bytes"] == number % 256).all()


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_example(tmp_path, 10)

    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_blocks", fail)
    with pytest.raises(SettingError, match=r"step-000000020 can't be written \(No space left on device\)"):
        save_example(tmp_path, 20)
    assert latest_checkpoint(tmp_path) == path
    assert is_example(path, 10)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]
