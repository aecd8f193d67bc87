"""DrQ-v2 through the real commands on a real MuJoCo task, small: it runs, freezes, is interrupted and goes on."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawing import needs_drawing, without_shadows
from tiny_run import machine_free_records, seer, stop_in_step

STEPS, FREEZE_AT, CAPACITY, FIRST = 120, 90, 70, 40
FLAGS = (
    *("--env", "dm_control/cartpole-swingup-v0", "--agent", "drqv2", "--image-size", 50, "--noise-steps", 100),
    *("--batch-size", 8, "--hidden-units", 32, "--first-update", FIRST, "--random-steps", FIRST, "--log-every", 20),
    *("--steps", STEPS, "--freeze-at", FREEZE_AT, "--replay-capacity", CAPACITY, "--eval-every", STEPS),
    *("--eval-episodes", 1, "--checkpoint-every", 50, "--max-episode-steps", 70, "--threads", 1, "--device", "cpu"),
)


@pytest.fixture(scope="module", autouse=True)
def _drawn_quickly() -> Iterator[None]:
    needs_drawing()
    with without_shadows():
        yield


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drqv2") / "whole"
    assert seer("train", *FLAGS, "--out", folder) == 0
    return folder


def test_it_freezes_and_learns_on_both_sides_at_every_second_step(whole_run: Path) -> None:
    replay = json.loads((whole_run / "summary.json").read_text())["replay"]
    assert (replay["row_bytes_before"], replay["row_bytes_after"]) == (3 * 50 * 50, 4 * 2 * 50 * 4)
    records = [record for record in machine_free_records(whole_run) if record["kind"] == "train"]
    assert [record["updates"] for record in records] == [
        max(0, step - FIRST + 2) // 2 for step in range(20, STEPS + 1, 20)
    ]
    assert all("critic_loss" in record and "actor_loss" in record for record in records if record["updates"] > 1)


@pytest.mark.slow  # CURL's run is stopped in test_control_run.py, and this agent restored in test_drqv2.py
def test_a_run_stopped_on_frames_and_on_latents_goes_on_to_the_same_records(whole_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    assert stop_in_step(65, "train", *FLAGS, "--out", folder, signal=signal.SIGTERM) == 130
    assert stop_in_step(105, "resume", folder, signal=signal.SIGTERM) == 130
    assert seer("resume", folder) == 0
    assert machine_free_records(folder) == machine_free_records(whole_run)
