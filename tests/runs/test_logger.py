"""A run's logger: no record is lost, a resumed run repeats none, and every output has them all."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seer.errors import SettingError
from seer.runs.folder import read_metrics
from seer.runs.logger import Logger
from seer.runs.outputs.jsonl import JsonlOutput
from seer.runs.outputs.tensorboard import TensorBoardOutput


def opened(folder: Path, state: dict[str, Any] | None = None) -> Logger:
    logger = Logger([JsonlOutput(folder), TensorBoardOutput(folder)])
    try:
        logger.open(state)
    except SettingError:
        logger.close()
        raise
    return logger


def record(logger: Logger, step: int, **metrics: Any) -> dict[str, Any]:
    return logger.record("train", step=step, frames=4 * step, flops=10 * step, **metrics)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_record_is_one_line_of_plain_json(tmp_path: Path) -> None:
    logger = opened(tmp_path)
    written = record(
        logger, np.int64(5), loss=np.float32(0.5), q=torch.tensor(2.0), bad=math.nan, worse=-math.inf,
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
    logger.close()


def test_tensorboard_has_the_figures_at_once(tmp_path: Path) -> None:
    logger = opened(tmp_path)
    for step in (1, 2):
        record(logger, step, loss=step / 2, bad=math.nan, converted=True, phase="latents", returns=[1.0])
    logger.record("eval", step=2, frames=8, flops=20, mean=7)
    assert scalars(tmp_path, "train/loss") == [(1, 0.5), (2, 1.0)]
    assert scalars(tmp_path, "eval/mean") == [(2, 7.0)]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["eval/mean", "train/loss"]
    logger.close()


def test_resuming_drops_what_was_recorded_after_the_checkpoint(tmp_path: Path) -> None:
    lost = opened(tmp_path)
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
        logger = opened(tmp_path, state)
        assert read_metrics(tmp_path) == kept
        for step in range(6, 11):
            record(logger, step, loss=step)
        logger.close()

    records = read_metrics(tmp_path)
    assert [entry["step"] for entry in records] == list(range(1, 11))
    assert [entry["loss"] for entry in records] == list(range(1, 11))
    seconds = [entry["wall_seconds"] for entry in records]
    assert seconds == sorted(seconds)
    assert scalars(tmp_path, "train/loss") == [(step, step) for step in range(1, 11)]


def test_wall_seconds_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    logger = opened(tmp_path)
    state = logger.state_dict() | {"wall_seconds": 1000.0}
    logger.close()
    logger = opened(tmp_path, state)
    assert 1000 <= record(logger, 1)["wall_seconds"] < 1010
    assert 1000 <= logger.state_dict()["wall_seconds"] < 1010
    logger.close()


def test_resuming_from_before_the_first_record(tmp_path: Path) -> None:
    logger = opened(tmp_path)
    state = logger.state_dict()
    record(logger, 1)
    logger.close()
    logger = opened(tmp_path, state)
    assert read_metrics(tmp_path) == []
    logger.close()


def test_resuming_survives_a_torn_event_file(tmp_path: Path) -> None:
    lost = opened(tmp_path)
    record(lost, 1, loss=1)
    state = lost.state_dict()
    record(lost, 2, loss=-2)
    lost.close()
    (events,) = tmp_path.glob("events.out.*")
    os.truncate(events, events.stat().st_size - 3)
    logger = opened(tmp_path, state)
    record(logger, 2, loss=2)
    logger.close()
    assert scalars(tmp_path, "train/loss") == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("change", [lambda content: content[:-20], lambda content: b"x" + content, lambda content: b""])
def test_a_checkpoint_and_metrics_that_disagree_are_refused(tmp_path: Path, change: Any) -> None:
    logger = opened(tmp_path)
    record(logger, 1)
    state = logger.state_dict()
    logger.close()
    file = tmp_path / "metrics.jsonl"
    changed = change(file.read_bytes())
    file.write_bytes(changed)
    with pytest.raises(SettingError, match=r"metrics\.jsonl is damaged"):
        opened(tmp_path, state)
    assert file.read_bytes() == changed
