"""Run folders: nothing is overwritten, one process writes, and only whole records are read."""

import json
import math
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from seer.errors import RunError, SettingError
from seer.runs.folder import RunFolder, lock, read_metrics

CONFIG = {"env": "ALE/Pong-v5", "agent": "rainbow", "seed": 0, "freeze": {"at": "never"}}


# Folders ---------------------------------------------------------------------------------------------------


def test_a_created_run_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    with RunFolder.create(path, CONFIG) as folder:
        assert folder.checkpoints == path / "checkpoints"
        assert json.loads((path / "config.json").read_text()) == CONFIG
    with RunFolder.open(path) as again:
        assert again.config == CONFIG


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, CONFIG).close()
    assert RunFolder.open(tmp_path).config == CONFIG


def test_a_folder_whose_making_was_cut_off_is_taken(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in (".lock", ".config.json.new"):
        (tmp_path / name).touch()
    RunFolder.create(tmp_path, CONFIG).close()
    assert RunFolder.open(tmp_path).config == CONFIG


def test_a_folder_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", CONFIG).close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("chapter 1")
    (tmp_path / "file").write_text("text")
    (tmp_path / "lost" / "checkpoints" / "step-000000010").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for name in ("run", "notes", "file", "lost"):
        with pytest.raises(SettingError, match=f"--out .*{name} has something in it already") as caught:
            RunFolder.create(tmp_path / name, CONFIG | {"seed": 1})
        assert "\n" not in str(caught.value)
        assert ("seer resume" in str(caught.value)) == (name == "run")  # the only one that can be gone on with
    assert sorted(tmp_path.rglob("*")) == before
    assert RunFolder.open(tmp_path / "run").config == CONFIG


def test_a_folder_that_was_deleted_under_its_run_is_noticed(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", CONFIG) as folder:
        folder.refuse_lost()
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(RunError, match="is gone: something deleted it"):
            folder.refuse_lost()
        RunFolder.create(tmp_path / "run", CONFIG).close()  # a new run in its place
        with pytest.raises(RunError, match="is another folder by now"):
            folder.refuse_lost()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(SettingError, match=r"--out .* can't be written"):
        RunFolder.create(tmp_path / "file" / "run", CONFIG)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "\x00"])
def test_what_is_no_run_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    for writing in (False, True):
        with pytest.raises(SettingError, match=str(tmp_path)) as caught:
            RunFolder.open(tmp_path, writing=writing)
        assert "\n" not in str(caught.value)


def test_who_looks_whether_a_run_is_free_keeps_no_writer_out(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", CONFIG).close()
    looking = lock(tmp_path / "run")
    assert looking is not None
    threading.Timer(0.3, looking.close).start()
    RunFolder.open(tmp_path / "run", writing=True).close()


def test_a_run_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", CONFIG).close()
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").mkdir()
    with pytest.raises(SettingError, match=r"run can't be written .*: make it writable"):
        RunFolder.open(tmp_path / "run", writing=True)


def test_one_writer_many_readers(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, CONFIG):
        RunFolder.open(tmp_path).close()
        with pytest.raises(SettingError, match="being written by another process"):
            RunFolder.open(tmp_path, writing=True)
    with RunFolder.open(tmp_path, writing=True), pytest.raises(SettingError, match="being written"):
        RunFolder.open(tmp_path, writing=True)


LOCK_AND_WAIT = """
import sys, time
from pathlib import Path
from seer.runs.folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]), writing=True)
print("locked", flush=True)
time.sleep(60)
"""


def test_a_killed_process_gives_its_lock_back(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, CONFIG).close()
    with subprocess.Popen([sys.executable, "-c", LOCK_AND_WAIT, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(SettingError, match="being written by another process"):
            RunFolder.open(tmp_path, writing=True)
        holder.kill()
    RunFolder.open(tmp_path, writing=True).close()


def test_systems_without_locks_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    RunFolder.create(tmp_path, CONFIG).close()
    RunFolder.open(tmp_path, writing=True).close()


def test_a_summary_is_written_whole(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, CONFIG) as folder:
        folder.write_summary({"steps": 1, "evaluation": [{"mean": np.float32(1.5), "std": math.nan}]})
        with pytest.raises(TypeError):
            folder.write_summary({"steps": object()})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == {"steps": 1, "evaluation": [{"mean": 1.5, "std": None}]}


# Metrics ---------------------------------------------------------------------------------------------------


def test_only_a_torn_last_line_is_overlooked(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    good = '{"kind": "eval", "step": 1}'
    for content in ("", good + "\n", f"{good}\n{good}", f"{good}\n{{"):
        file.write_text(content)
        assert read_metrics(tmp_path) == [{"kind": "eval", "step": 1}] * content.count("\n")
    for bad in ("{", "", "3", '{"step": 1}', "\udcff"):
        file.write_bytes(f"{good}\n{bad}\n{good}\n".encode(errors="surrogateescape"))
        with pytest.raises(SettingError, match=r"metrics\.jsonl is damaged: line 2 is no record"):
            read_metrics(tmp_path)
    file.unlink()
    with pytest.raises(SettingError, match=r"metrics\.jsonl can't be read"):
        read_metrics(tmp_path)
