"""Learning rates that fall over a run: what they are at each step, also after a stop; with Atari's other modes."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import read_metrics
from small_sac import make, make_config
from tiny_run import SHORT_FLAGS, SHORT_STEPS, seer, stop_in_step

FLAGS = (*SHORT_FLAGS, "--learning-rate-final-share", 0.25, "--learning-rate", 0.004)
MODES = ("--sticky-actions", 0.25, "--full-action-space")


def machine_free(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if "second" not in name and "rss" not in name}


@pytest.mark.slow
def test_a_stopped_run_learns_on_at_the_same_rates(tmp_path: Path) -> None:
    flags, whole, stopped = (*FLAGS, *MODES, "--steps", SHORT_STEPS), tmp_path / "whole", tmp_path / "stopped"
    assert seer("train", *flags, "--out", whole) == 0
    assert stop_in_step(100, "train", *flags, "--out", stopped, signal=signal.SIGTERM) == 130
    assert seer("resume", stopped) == 0
    figures = [[machine_free(record) for record in read_metrics(run)] for run in (whole, stopped)]
    assert figures[0] == figures[1]
    shares = {record["step"]: record["learning_rate_share"] for record in figures[0] if record["kind"] == "train"}
    assert (shares[60], shares[SHORT_STEPS]) == (1 - 0.75 / 2, 0.25)
    agent = load_checkpoint(latest_checkpoint(stopped / "checkpoints"))["agent"]
    assert agent["optimizers"]["head"]["param_groups"][0]["lr"] == pytest.approx(0.001)
    assert len(agent["modules"]["online"]["head.advantage.2.bias"]) == 18 * 51  # of the console's 18 actions
    config = json.loads((stopped / "config.json").read_text())
    assert (config["sticky_actions"], config["full_action_space"]) == (0.25, True)


def test_every_optimiser_slows_down() -> None:
    agent, _ = make(make_config("curl"))
    before = {name: each.param_groups[0]["lr"] for name, each in agent.optimizers.items()}
    for share in (0.5, 0.25):  # of the rate that it was made with, not of the last one
        agent.scale_learning_rates(share)
    after = {name: each.param_groups[0]["lr"] for name, each in agent.optimizers.items()}
    assert after == pytest.approx({name: rate / 4 for name, rate in before.items()})
    assert {"critic", "encoder", "actor", "temperature", "contrastive"} <= after.keys()
