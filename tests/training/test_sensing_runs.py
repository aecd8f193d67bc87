"""Runs on pictures and vectors through the real commands, small: each agent freezes, is interrupted and goes on."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seer as library
from seer.runs.folder import read_metrics
from seer.sweeps.grid import read_grid
from tiny_run import seer, stop_in_step

COMMON = (
    *("--frame-stack", 2, "--image-size", 30, "--batch-size", 4, "--hidden-units", 16, "--n-step", 2),
    *("--steps", 90, "--freeze-at", 60, "--replay-capacity", 50, "--first-update", 40, "--log-every", 10),
    *("--eval-every", 90, "--eval-episodes", 1, "--checkpoint-every", 45, "--probe-every", 20, "--probe-size", 16),
    *("--threads", 1, "--device", "cpu"),
)
CONTROL = ("--env", "reaching:ReachingTwoCameras-v0", "--cameras", "camera", "behind=26", "--random-steps", 40)
DISCRETE = ("--env", "reaching:ReachingTwoCamerasDiscrete-v0")
CROPS = ("--crop-size", 24, "--num-crops", 2)
FLAGS: dict[str, tuple[object, ...]] = {
    "rainbow": (*DISCRETE, "--freeze-layers", 1),
    "dqn": (*DISCRETE, "--latent-dtype", "float16"),
    "sac": (*CONTROL, *CROPS),
    "curl": (*CONTROL, *CROPS, "--latent-dtype", "bfloat16"),
    "drqv2": (*CONTROL, "--shift", 2, "--num-crops", 2),
}
ROW = {
    "rainbow": 2 * 900 + 8,  # 32 maps of 6 x 6 numbers are more: frames stay
    "dqn": (2 * 64 + 2 * 2) * 2,
    "sac": 2 * 2 * (50 + 2 * 2) * 4,
    "curl": 2 * 2 * (50 + 2 * 2) * 2,
    "drqv2": 2 * 2 * (50 + 2 * 2) * 4,
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("dqn", "sac")]


def figures(folder: Path) -> list[dict[str, Any]]:
    records = read_metrics(folder)
    return [{k: v for k, v in record.items() if "second" not in k and "rss" not in k} for record in records]


@pytest.mark.parametrize("agent", ["rainbow", "curl", "drqv2", *SLOW])
def test_a_run_stopped_on_frames_and_after_the_freeze_goes_on_to_the_same_figures(agent: str, tmp_path: Path) -> None:
    flags = ("train", "--agent", agent, *FLAGS[agent], *COMMON)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert seer(*flags, "--out", whole) == 0
    assert stop_in_step(50, *flags, "--out", stopped, signal=signal.SIGTERM) == 130
    assert stop_in_step(70, "resume", stopped, signal=signal.SIGTERM) == 130
    assert seer("resume", stopped) == 0
    assert figures(stopped) == figures(whole)
    replay = json.loads((whole / "summary.json").read_text())["replay"]
    assert replay["row_bytes_before"] == (1808 if agent in ("rainbow", "dqn") else 900 + 676 + 8)
    assert replay["row_bytes_after"] == ROW[agent]
    trained = library.load(whole)
    environment = trained.make_env(seed=1)
    observation, _ = environment.reset()
    shown: Any = environment.unwrapped
    again = trained.observe({name: np.asarray(part) for name, part in shown._env.unwrapped._see().items()})
    assert np.array_equal(observation, again), "frames can be made of the environment's own observations"
    assert np.array_equal(trained.act(observation), library.load(whole).act(again))


def test_a_dry_run_says_what_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert seer("train", *DISCRETE, "--agent", "dqn", *COMMON, "--cameras", "camera", "--dry-run") == 0
    told = capsys.readouterr().out
    assert "'position' (2) beside the latents; doesn't see 'behind'" in " ".join(told.split())
    assert "908" in told, "bytes of a row: a picture and two numbers"


def test_costs_of_frames_and_latents_count_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    assert seer("memory", *DISCRETE, "--agent", "dqn", *COMMON) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"bytes per stored step │ 1,808 │ {(2 * 64 + 4) * 4}" in told


def test_the_example_s_grid_compares_both_with_the_picture_alone() -> None:
    trials = read_grid(Path(__file__).parents[2] / "examples" / "reaching.toml").trials()
    assert {(trial.variant, trial.config.image.vectors, trial.config.freeze.at) for trial in trials} == {
        ("both-frozen", (), "4000"),
        ("both-never", (), "never"),
        ("picture-frozen", ("none",), "4000"),
        ("picture-never", ("none",), "never"),
    }
