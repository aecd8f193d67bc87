"""Run folders: nothing is overwritten, one process writes, and a resumed run repeats no record."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seer.errors import RunError, SettingError
from seer.runs.folder import Metrics, RunFolder, lock, read_metrics

CONFIG = {"env": "ALE/Pong-v5", "agent": "rainbow", "seed": 0, "freeze": {"at": "never"}}


def record(metrics: Metrics, step: int, **figures: Any) -> dict[str, Any]:
    return metrics.record("train", step=step, frames=4 * step, flops=10 * step, **figures)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


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


def test_a_folder_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", CONFIG).close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("chapter 1")
    (tmp_path / "file").write_text("text")
    before = sorted(tmp_path.rglob("*"))
    for name in ("run", "notes", "file"):
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


def test_a_record_is_one_line_of_plain_json(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    written = record(
        metrics, np.int64(5), loss=np.float32(0.5), q=torch.tensor(2.0), bad=math.nan, worse=-math.inf,
        returns=[np.float64(1), math.nan], converted=True, phase="latents", none=None,
    )  # fmt: skip
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()  # on the disk before close
    assert json.loads(line, parse_constant=pytest.fail) == written == read_metrics(tmp_path)[0]
    assert list(written)[:5] == ["kind", "step", "frames", "flops", "wall_seconds"]
    assert written | {"wall_seconds": 0} == {
        "kind": "train", "step": 5, "frames": 20, "flops": 50, "wall_seconds": 0, "loss": 0.5, "q": 2.0,
        "bad": None, "worse": None, "returns": [1.0, None], "converted": True, "phase": "latents",
        "none": None,
    }  # fmt: skip
    metrics.close()


def test_tensorboard_has_the_figures_at_once(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for step in (1, 2):
        record(metrics, step, loss=step / 2, bad=math.nan, converted=True, phase="latents", returns=[1.0])
    metrics.record("eval", step=2, frames=8, flops=20, mean=7)
    assert scalars(tmp_path, "train/loss") == [(1, 0.5), (2, 1.0)]
    assert scalars(tmp_path, "eval/mean") == [(2, 7.0)]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["eval/mean", "train/loss"]
    metrics.close()


def test_resuming_drops_what_was_recorded_after_the_checkpoint(tmp_path: Path) -> None:
    lost = Metrics(tmp_path)
    for step in range(1, 6):
        record(lost, step, loss=step)
    state = json.loads(json.dumps(lost.state_dict()))
    kept = read_metrics(tmp_path)
    for step in range(6, 9):
        record(lost, step, loss=-step)
    lost.close()  # for the test's sake; every record is on the disk already
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "train", "st')
    assert len(read_metrics(tmp_path)) == 8

    for _ in range(2):  # killed again before its next checkpoint
        metrics = Metrics(tmp_path)
        metrics.load_state_dict(state)
        assert read_metrics(tmp_path) == kept
        for step in range(6, 11):
            record(metrics, step, loss=step)
        metrics.close()

    records = read_metrics(tmp_path)
    assert [entry["step"] for entry in records] == list(range(1, 11))
    assert [entry["loss"] for entry in records] == list(range(1, 11))
    seconds = [entry["wall_seconds"] for entry in records]
    assert seconds == sorted(seconds)
    assert scalars(tmp_path, "train/loss") == [(step, step) for step in range(1, 11)]


def test_wall_seconds_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    state = metrics.state_dict() | {"wall_seconds": 1000.0}
    metrics.load_state_dict(state)
    assert 1000 <= record(metrics, 1)["wall_seconds"] < 1010
    assert 1000 <= metrics.state_dict()["wall_seconds"] < 1010
    metrics.close()


def test_resuming_from_before_the_first_record(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    state = metrics.state_dict()
    record(metrics, 1)
    metrics.load_state_dict(state)
    assert read_metrics(tmp_path) == []
    metrics.close()


def test_resuming_survives_a_torn_event_file(tmp_path: Path) -> None:
    lost = Metrics(tmp_path)
    record(lost, 1, loss=1)
    state = lost.state_dict()
    record(lost, 2, loss=-2)
    lost.close()
    (events,) = tmp_path.glob("events.out.*")
    os.truncate(events, events.stat().st_size - 3)
    metrics = Metrics(tmp_path)
    metrics.load_state_dict(state)
    record(metrics, 2, loss=2)
    metrics.close()
    assert scalars(tmp_path, "train/loss") == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("change", [lambda content: content[:-20], lambda content: b"x" + content, lambda content: b""])
def test_a_checkpoint_and_metrics_that_disagree_are_refused(tmp_path: Path, change: Any) -> None:
    metrics = Metrics(tmp_path)
    record(metrics, 1)
    state = metrics.state_dict()
    metrics.close()
    file = tmp_path / "metrics.jsonl"
    changed = change(file.read_bytes())
    file.write_bytes(changed)
    metrics = Metrics(tmp_path)
    with pytest.raises(SettingError, match=r"metrics\.jsonl is damaged"):
        metrics.load_state_dict(state)
    metrics.close()
    assert file.read_bytes() == changed


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
