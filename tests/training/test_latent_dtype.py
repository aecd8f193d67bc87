"""Whole runs whose latents are stored in fewer bytes: what they record, and that a stop in between changes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from painted_run import CAPACITY, finish, make_training
from seer.core.freeze_rules import FreezeAt
from seer.replay import LATENT_DTYPES, RowFormat
from seer.runs.folder import read_metrics
from seer.training.state import TrainingState
from tiny_run import seer

STEPS, FREEZE_AT, LATENTS = 300, 200, 64  # the encoder's latent of frames of 30 x 30


def make(dtype: str) -> TrainingState:
    run = make_training(FreezeAt(FREEZE_AT), steps=STEPS)
    run.agent.online.encoder.row_format = RowFormat(run.agent.latent.shape, LATENT_DTYPES[dtype])
    return run


@pytest.mark.parametrize("dtype", [pytest.param("float16", marks=pytest.mark.slow), "int8"])
def test_a_stopped_run_ends_as_one_that_was_not(dtype: str, tmp_path: Path) -> None:
    whole, said = finish(lambda: make(dtype), tmp_path / "whole")
    resumed, _ = finish(lambda: make(dtype), tmp_path / "resumed", stop_at=FREEZE_AT + 50)
    for name, module in whole.agent.modules().items():
        state = resumed.agent.modules()[name].state_dict()
        assert all(torch.equal(part, state[key]) for key, part in module.state_dict().items())
    memories = [[piece.read() for piece in run.replay.state_dict()["memory"]] for run in (whole, resumed)]
    assert all(torch.equal(*pair) for pair in zip(*memories, strict=True))

    (freeze,) = [record for record in read_metrics(tmp_path / "whole") if record["kind"] == "freeze"]
    row_bytes = LATENTS * LATENT_DTYPES[dtype].itemsize
    assert (freeze["latent_dtype"], freeze["row_bytes_after"]) == (dtype, row_bytes)
    assert freeze["capacity_after"] == CAPACITY * 900 // row_bytes
    assert 0 < freeze["latent_error"]["relative"] < 0.05
    assert f"({dtype}, error" in said

    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "resumed")]
    for summary in summaries:
        assert summary["replay"]["latent_error"] == freeze["latent_error"]
        assert summary["replay"]["latent_dtype"] == dtype
    shares = [summary["replay"]["clipped_share"] for summary in summaries]
    assert shares[0] == shares[1]
    assert (shares[0] is None) == (dtype == "float16")

    fitted = freeze["rows"] if dtype == "int8" else 0  # all of them: there are fewer than 1,024
    encoded = CAPACITY + fitted
    assert whole.ledger.freeze == whole.agent.cost.store * encoded
    assert whole.step == STEPS


@pytest.mark.slow
def test_the_benchmark_of_a_frozen_run(tmp_path: Path) -> None:
    short = ("--steps", 150, "--freeze-at", 120, "--replay-capacity", 100, "--first-update", 60, "--batch-size", 8)
    flags = ("--hidden-units", 16, "--n-step", 3, "--eval-every", 150, "--eval-episodes", 1, "--device", "cpu")
    assert seer("train", "--env", "ALE/Pong-v5", *short, *flags, "--out", tmp_path / "run") == 0
    script = Path(__file__).parents[2] / "benchmarks/latent_rounding.py"
    command = [sys.executable, "-W", "error", script, tmp_path / "run", "--observations", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    half, brain = found["float16"], found["bfloat16"]
    assert brain["latent_error"] / half["latent_error"] == pytest.approx(8, rel=0.3)  # 8 bits of mantissa, and 11
    assert half["latent_error"] < found["int8"]["latent_error"]
    assert 0 < half["value_error"] < brain["value_error"] < half["value_spread"]
    assert half["value_spread"] == brain["value_spread"]
    assert half["actions_changed"] <= 0.1
    assert {0 <= found[name]["actions_changed"] <= 1 for name in ("float16", "bfloat16", "int8")} == {True}
