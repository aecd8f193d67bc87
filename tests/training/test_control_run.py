"""CURL through the real commands on a real MuJoCo task, small: it runs, freezes, is interrupted and goes on."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawing import needs_drawing, without_shadows
from tiny_run import CONTROL_FLAGS as FLAGS
from tiny_run import machine_free_records, seer, stop_in_step


@pytest.fixture(scope="module", autouse=True)
def _drawn_quickly() -> Iterator[None]:
    needs_drawing()
    with without_shadows():
        yield


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control") / "whole"
    assert seer("train", *FLAGS, "--out", folder) == 0
    return folder


def test_the_replay_grows_inside_its_memory(whole_run: Path) -> None:
    replay = json.loads((whole_run / "summary.json").read_text())["replay"]
    assert replay["bytes"] == 70 * 3 * 50 * 50
    assert (replay["row_bytes_before"], replay["row_bytes_after"]) == (7500, 4 * 2 * 50 * 4)
    assert replay["capacity_after"] == 70 * 7500 // 1600


def test_both_halves_learn_and_only_the_first_contrasts(whole_run: Path) -> None:
    records = [record for record in machine_free_records(whole_run) if record["kind"] == "train" and record["updates"]]
    contrasted = {record["step"] for record in records if "contrastive_loss" in record}
    assert contrasted == {40, 60, 80, 100}  # the record at 100 covers 81 to 89
    assert all("critic_loss" in record and "actor_loss" in record for record in records[1:])


def test_a_run_stopped_on_frames_and_on_latents_goes_on_to_the_same_figures(whole_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    assert stop_in_step(65, "train", *FLAGS, "--out", folder, signal=signal.SIGTERM) == 130
    assert stop_in_step(105, "resume", folder, signal=signal.SIGTERM) == 130
    assert seer("resume", folder) == 0
    assert machine_free_records(folder) == machine_free_records(whole_run)
