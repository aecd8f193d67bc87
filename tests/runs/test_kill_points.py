"""Runs that were cut off anywhere and resumed end as if nothing had happened: the same records, the same agent."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import killing
from drawing import needs_drawing
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import read_metrics
from tiny_run import machine_free, machine_free_records

COMMON = (
    *("--batch-size", 8, "--hidden-units", 16, "--first-update", 60, "--steps", 240, "--freeze-at", 130),
    *("--probe-every", 40, "--probe-size", 32, "--log-every", 10, "--checkpoint-every", 50, "--eval-every", 100),
    *("--eval-episodes", 1, "--max-episode-steps", 80, "--threads", 1, "--device", "cpu"),
    *("--n-step", 5, "--target-every", 20),
)
ATARI = (*COMMON, "--env", "ALE/RoadRunner-v5", "--replay-capacity", 90)
CONTROL = (
    *(*COMMON, "--env", "dm_control/cartpole-swingup-v0", "--replay-capacity", 90, "--latent-size", 8),
    *("--image-size", 48, "--crop-size", 44, "--random-steps", 40),
)
POINTS = [
    # warm-up: before the first update, and before the first checkpoint
    *("kill-act:1", "kill-act:20", "term-act:33", "kill-act:51", "kill-tear:4"),
    # learning from frames, and records
    *("kill-act:70", "kill-learn:3", "int-learn:25", "kill-act:99", "kill-record:9", "kill-tear:11", "kill-record:12"),
    # the first evaluation, between two that change nothing
    *("kill-evaluate:1", "kill-evaluate:40", "term-evaluate:50", "int-evaluate:3", "kill-act:101"),
    # the conversion
    *("kill-act:130", "kill-convert:1", "kill-convert:2", "term-convert:1", "int-convert:2", "term-act:130"),
    # learning from latents
    *(
        "kill-act:131",
        "kill-learn:75",
        "term-act:160",
        "kill-learn:120",
        "kill-tear:22",
        "kill-act:199",
        "kill-act:240",
    ),
    # checkpoints, the first one too
    *(
        "kill-write:1",
        "kill-write:4",
        "kill-write:9",
        "kill-write:20",
        "kill-write:45",
        "kill-write:70",
        "kill-write:95",
    ),
    # the end, and runs that are cut off again while they go on
    *("kill-end:1", "kill-act:140+kill-load:1", "kill-convert:2+kill-convert:1", "term-evaluate:9+kill-evaluate:5"),
    *("kill-act:120+term-convert:1+kill-write:3", "kill-learn:60+kill-record:5+term-act:7"),
]
CHAIN = "kill-tear:11+kill-convert:2+kill-write:20+term-evaluate:9"
"""One run, cut off four times: in learning from frames, the conversion, a checkpoint and an evaluation."""
SHORT = ("kill-write:1", "term-convert:1+kill-act:40", "kill-write:20+term-evaluate:9", "kill-tear:11+kill-convert:2")


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    return bool(left == right)


def agent_of(folder: Path) -> dict[str, Any]:
    return load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]


def check(folder: Path, points: list[str], flags: tuple[object, ...]) -> None:
    command = [sys.executable, killing.__file__, folder, " ".join(points), *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole, agent = machine_free_records(folder / "whole"), agent_of(folder / "whole")
    assert {record["kind"] for record in whole} >= {"train", "eval", "freeze"}
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(points)
    for outcome in outcomes:
        assert outcome["codes"][-1] == 0, outcome
        assert all(code in (-9, 130) for code in outcome["codes"][:-1]), outcome
        assert len(outcome["codes"]) == outcome["point"].count("+") + 2, outcome  # each one did cut it off
        run = Path(outcome["folder"])
        records = read_metrics(run)
        assert [machine_free(record) for record in records] == whole, outcome["point"]
        seconds = [record["wall_seconds"] for record in records]
        assert seconds == sorted(seconds), outcome["point"]  # time goes on where it was
        assert same(agent_of(run), agent), outcome["point"]
        assert not list((run / "checkpoints").glob(".*"))


def test_the_full_list_is_long_enough() -> None:
    assert len(POINTS) >= 40


@pytest.mark.parametrize("point", ["kill-convert:2+kill-write:20", pytest.param(CHAIN, marks=pytest.mark.slow)])
def test_a_run_that_is_cut_off_with_its_replay_in_a_file_ends_as_one_in_memory(
    point: str, tmp_path: Path, disk: Path
) -> None:
    check(tmp_path, [point], ("--replay-on", disk, *ATARI))
    started = (tmp_path / "run0.log").read_text().count(f"the replay's 635.0 kB are in a file in {disk}")
    assert started == point.count("+") + 1
    assert "replay_on" not in json.loads((tmp_path / "whole" / "config.json").read_text())


@pytest.mark.slow
def test_runs_that_are_cut_off_on_atari_end_the_same(tmp_path: Path) -> None:
    check(tmp_path, [CHAIN, *SHORT], ATARI)


@pytest.mark.slow
def test_runs_that_are_cut_off_on_dm_control_end_the_same(tmp_path: Path) -> None:
    needs_drawing()
    check(tmp_path, list(SHORT[1:2]), CONTROL)


@pytest.mark.torture
@pytest.mark.parametrize("flags", [ATARI, CONTROL], ids=["atari", "dm_control"])
def test_runs_that_are_cut_off_anywhere_end_the_same(flags: tuple[object, ...], tmp_path: Path) -> None:
    if flags is CONTROL:
        needs_drawing()
    check(tmp_path, POINTS, flags)
