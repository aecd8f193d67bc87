"""Outputs of a run's logger beside the file: one of a test's own, Weights & Biases, trackio."""

import json
import re
import signal
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from seer.errors import SettingError
from seer.runs.folder import read_metrics
from seer.runs.logger import Logger
from seer.runs.outputs import OUTPUTS, make_outputs
from seer.runs.outputs.base import MOMENT, Output, import_extra
from seer.runs.outputs.jsonl import JsonlOutput
from tiny_run import FLAGS, seer, seer_process, stop_in_step

SHORT = (
    *FLAGS,
    "--steps",
    150,
    "--freeze-at",
    100,
    "--first-update",
    50,
    "--eval-every",
    150,
    "--checkpoint-every",
    70,
    "--max-episode-steps",
    40,
)


PLACE = f"{__name__}:Kept"


class Kept(Output):
    """Keeps the records of all runs in this process."""

    name = "kept"
    records: ClassVar[list[dict[str, Any]]] = []
    calls: ClassVar[list[object]] = []

    def open(self, state: dict[str, Any], *, after: int | None) -> None:
        self.calls.append(("open", self.config["env"], state, after))
        del self.records[state.get("records", 0) :]

    def record(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def state_dict(self) -> dict[str, Any]:
        return {"records": len(self.records)}

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    """By its name in the table; `PLACE` names it without."""
    monkeypatch.setitem(OUTPUTS, "kept", Kept)
    Kept.records.clear()
    Kept.calls.clear()
    return Kept


def test_an_output_is_a_class_and_a_line(kept: type[Kept], tmp_path: Path) -> None:
    """It has every record, before a stop and after it, and hears where the run goes on."""
    run = tmp_path / "run"
    assert stop_in_step(80, "train", *SHORT, "--log", "kept", "--out", run, signal=signal.SIGTERM) == 130
    assert json.loads((run / "config.json").read_text())["log"] == ["kept"]
    before = list(kept.records)
    assert seer("resume", run) == 0
    assert kept.records[: len(before)] == before
    assert kept.records == read_metrics(run)
    first, resumed = (call for call in kept.calls if isinstance(call, tuple))
    assert first == ("open", "ALE/Pong-v5", {}, None)
    assert resumed == ("open", "ALE/Pong-v5", {"records": len(before)}, before[-1]["step"])
    assert kept.calls.count("close") == 2


def test_a_resumed_run_can_have_other_outputs(kept: type[Kept], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert stop_in_step(30, "train", *SHORT, "--log", "kept", "--out", run, signal=signal.SIGTERM) == 130
    for step, log in ((60, "none"), (90, None)):  # stays as it was said last
        flags = () if log is None else ("--log", log)
        assert stop_in_step(step, "resume", run, *flags, signal=signal.SIGTERM) == 130
        assert json.loads((run / "config.json").read_text())["log"] == []
        assert len([call for call in kept.calls if call != "close"]) == 1
    assert seer("resume", run, "--log", PLACE) == 0
    assert kept.calls[-2][2] == {"records": 0}  # its state was kept meanwhile
    assert kept.records == [record for record in read_metrics(run) if record["step"] >= 100]


def test_an_unknown_output_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert seer("train", *SHORT, "--log", "nowhere", "--out", tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"seer: error: --log nowhere: use {', '.join(sorted(OUTPUTS))}, or package.module:Class"


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("nowhere:Class", "can't be imported (ModuleNotFoundError: No module named 'nowhere')"),
        ("seer.errors:Class", "can't be imported (AttributeError: module 'seer.errors' has no attribute 'Class')"),
        (":", "can't be imported (ValueError: invalid format: ':')"),
        ("seer.errors:SettingError", "is no subclass of seer.runs.outputs.Output"),
        ("seer.runs.outputs:Output", "has no name: give the class one"),
    ],
)
def test_a_class_of_ones_own_has_to_be_one(place: str, complaint: str) -> None:
    with pytest.raises(SettingError) as caught:
        make_outputs([place], Path(), {})
    assert f"--log {place} {complaint}" in str(caught.value)


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    """The state of one would take the other's place in checkpoints."""
    with pytest.raises(SettingError, match="another output is called 'kept' too"):
        make_outputs([f"{__name__}:Kept", f"{__name__}:Kept"], tmp_path, {})


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_missing_package_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert seer("train", *SHORT, "--log", name, "--out", tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--log {name} needs the extra: pip install 'seer-rl[{name}]'" in line
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights & Biases leaves folders that are called `wandb`."""
    (tmp_path / "tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match=r"--log tracker needs the extra.*tracker is a folder here"):
        import_extra("tracker")


def test_the_example_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "CsvOutput" in block)
    (tmp_path / "csv_output.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    state = None
    for step in (1, 2):
        logger = Logger([JsonlOutput(tmp_path), *make_outputs(["csv_output:CsvOutput"], tmp_path, {})])
        logger.open(state)
        for kind in ("episode", "eval"):
            logger.record(kind, step=step, frames=step, flops=step, episode_return=step / 2)
        state = json.loads(json.dumps(logger.state_dict()))
        logger.record("episode", step=9, frames=9, flops=9, episode_return=9)  # after the last checkpoint
        logger.close()
    assert (tmp_path / "episodes.csv").read_text().split() == ["1,0.5", "2,1.0", "9,9"]


def test_a_checkpoint_from_before_there_were_outputs_is_read(tmp_path: Path) -> None:
    logger = Logger([JsonlOutput(tmp_path)])
    logger.open()
    for step in (1, 2):
        logger.record("train", step=step, frames=step, flops=step)
    state = logger.state_dict()
    logger.record("train", step=3, frames=3, flops=3)
    logger.close()
    logger.open(state | state.pop("outputs")["jsonl"])
    logger.close()
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2]


# Services ----------------------------------------------------------------------------------------------------


def stopped_and_resumed(name: str, run: Path) -> list[dict[str, Any]]:
    """The records of a run that sent them to an output, in two processes, the first of which was stopped."""
    stopped = seer_process("train", *SHORT, "--log", name, "--out", run, step=80, signal=signal.SIGTERM)
    assert stopped.returncode == 130, stopped.stderr
    resumed = seer_process("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    return read_metrics(run)


def numbers(records: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    """What a service should have of records, with the step under this name."""
    moments = ("frames", "flops", "wall_seconds")
    return [
        {step: record["step"]}
        | {name: record[name] for name in moments}
        | {
            f"{record['kind']}/{name}": value
            for name, value in record.items()
            if type(value) in (int, float) and name not in ("step", *moments)
        }
        for record in records
    ]


def wandb_messages(file: Path) -> Iterator[Any]:
    """The messages in a file of Weights & Biases: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content, at, message = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        message, at = message + content[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(message)
            message = b""


def test_wandb_has_every_record_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra: pip install 'seer-rl[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    records = stopped_and_resumed("wandb", tmp_path / "run")
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    messages = [message for file in files for message in wandb_messages(file)]
    runs = [message.run for message in messages if message.WhichOneof("record_type") == "run"]
    assert len(files) == len({file.parent for file in files}) == 2
    assert len({(run.run_id, run.project) for run in runs}) == 1
    assert (runs[0].project, runs[0].display_name) == ("seer", "run")
    history = [message.history for message in messages if message.WhichOneof("record_type") == "history"]
    assert [each.step.num for each in history] == list(range(len(records)))
    sent = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in each.item} for each in history]
    own = [{name: value for name, value in each.items() if not name.startswith("_")} for each in sent]
    assert own == numbers(records, "step")


def test_wandb_sends_no_record_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed trains again what its last checkpoint doesn't hold; the server says what it has."""
    sent = []
    server = SimpleNamespace(step=3, log=lambda numbers, *, step, commit: sent.append((numbers["train/loss"], step)))
    server.define_metric = lambda name, *, step_metric: None
    package = SimpleNamespace(__file__="", Settings=dict, init=lambda **settings: server)
    monkeypatch.setitem(sys.modules, "wandb", package)  # there is no server here
    output = OUTPUTS["wandb"](tmp_path, {})
    output.open({"id": "one", "records": 1}, after=1)
    for number in range(1, 5):
        output.record({"kind": "train", **dict.fromkeys(MOMENT, number), "loss": number})
    assert sent == [(3, 3), (4, 4)]
    assert output.state_dict() == {"id": "one", "records": 5}


def test_trackio_has_every_record_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio", reason="needs the extra: pip install 'seer-rl[trackio]'")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    records = stopped_and_resumed("trackio", tmp_path / "run")
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_id, run_name, step, metrics from metrics order by id").fetchall()
        (config,) = database.execute("select config from configs").fetchone()
    database.close()
    assert file.name == "seer.db"
    assert len({(run, name) for run, name, *_ in rows}) == 1
    assert rows[0][1].startswith("run-")
    assert [{"step": step} | json.loads(text) for *_, step, text in rows] == numbers(records, "step")
    assert json.loads(config)["env"] == "ALE/Pong-v5"
