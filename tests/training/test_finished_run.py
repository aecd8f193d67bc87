"""The run folder that a finished run leaves: files, records, summary, and figures worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import read_metrics
from tiny_run import BATCH, CAPACITY, FIRST_UPDATE, FREEZE_AT, HIDDEN, STEPS

Record = dict[str, Any]
FRAME_BYTES, LATENT_BYTES, ACTIONS, ATOMS = 84 * 84, 576 * 4, 6, 51
ENCODER = 1_280_000
HEADS = 2 * 576 * HIDDEN + HIDDEN * ACTIONS * ATOMS + HIDDEN * ATOMS


def flops_by_hand(step: int) -> int:
    """SPEC section 2, step by step, at the end of training step `step`."""
    total = 0
    for t in range(1, step + 1):
        total += ENCODER + HEADS + (ENCODER if t > FREEZE_AT else 0)
        if t == FREEZE_AT:
            total += ENCODER * min(FREEZE_AT, CAPACITY)
        if t >= FIRST_UPDATE:
            total += 5 * BATCH * (ENCODER + HEADS if t < FREEZE_AT else HEADS)
    return total


def test_a_run_leaves_what_the_readme_says(finished_run: Path) -> None:
    left = {path.name for path in finished_run.iterdir() if not path.name.startswith(".")}
    assert {name for name in left if not name.startswith("events.out")} == {
        "config.json", "metrics.jsonl", "summary.json", "checkpoints", "learning_curve.png",
    }  # fmt: skip
    assert any(name.startswith("events.out") for name in left)
    assert (finished_run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert load_checkpoint(latest_checkpoint(finished_run / "checkpoints"))["replay"]["memory"] == []


def test_every_record_says_what_and_when(finished_run: Path) -> None:
    records = read_metrics(finished_run)
    assert {record["kind"] for record in records} == {"train", "episode", "eval", "freeze", "guard"}
    for record in records:
        assert list(record)[:5] == ["kind", "step", "frames", "flops", "wall_seconds"]
        assert record["frames"] == 4 * record["step"]
    for name in ("step", "flops", "wall_seconds"):
        values = [record[name] for record in records]
        assert values == sorted(values)
    assert [record["step"] for record in records if record["kind"] == "eval"] == [600, 1000]
    assert [record["step"] for record in records if record["kind"] == "train"] == list(range(50, 1001, 50))


def test_records_hold_their_figures(finished_run: Path) -> None:
    of_kind = {kind: [r for r in read_metrics(finished_run) if r["kind"] == kind] for kind in ("train", "episode")}
    for record in of_kind["train"]:
        learnt = {"loss", "q_mean", "gradient_norm"} if record["step"] >= FIRST_UPDATE else set()
        always = {"replay_size", "replay_bytes", "index_bytes", "updates", "updates_per_second", "rss_bytes"}
        assert learnt | always <= record.keys()
        assert all(math.isfinite(record[name]) for name in learnt)
        assert record["updates"] == max(0, record["step"] - FIRST_UPDATE + 1)
        assert record["replay_bytes"] == CAPACITY * FRAME_BYTES
        assert 10**7 < record["rss_bytes"] < 10**11
        if record["step"] < FREEZE_AT:
            assert record["replay_size"] == min(record["step"], CAPACITY)
    (episode,) = of_kind["episode"]
    assert -21 <= episode["episode_return"] <= 21
    assert 500 < episode["episode_length"] <= episode["step"]


def test_flops_are_the_sum_by_hand(finished_run: Path) -> None:
    for record in read_metrics(finished_run):
        if record["kind"] == "train":
            assert record["flops"] == flops_by_hand(record["step"])


def test_the_summary(finished_run: Path) -> None:
    """The keys of the issue, no more and no less, and their values by hand."""
    summary = json.loads((finished_run / "summary.json").read_text())
    records = read_metrics(finished_run)
    assert summary.keys() == {
        "env", "agent", "seed", "steps", "frozen_at", "freeze", "flops", "replay", "updates_per_second",
        "peak_rss_bytes", "wall_seconds", "evaluation", "normalized_score", "metrics_sha256",
    }  # fmt: skip
    assert [summary[name] for name in ("env", "agent", "seed", "steps", "frozen_at")] == [
        "ALE/Pong-v5", "rainbow", 0, STEPS, FREEZE_AT,
    ]  # fmt: skip
    updates = STEPS - FIRST_UPDATE + 1
    assert summary["flops"] == {
        "total": flops_by_hand(STEPS),
        "baseline": (STEPS + 5 * BATCH * updates) * (ENCODER + HEADS),
        "per_step_before": (1 + 5 * BATCH) * (ENCODER + HEADS),
        "per_step_after": (1 + 5 * BATCH) * HEADS + 2 * ENCODER,
        "freeze": ENCODER * CAPACITY,
        "probe": 0,
    }
    assert summary["freeze"] == {"mode": "step", "step": FREEZE_AT, "reason": "given step", "similarity": None}
    replay = summary["replay"]
    assert replay == {
        "bytes": CAPACITY * FRAME_BYTES,
        "row_bytes_before": FRAME_BYTES,
        "row_bytes_after": LATENT_BYTES,
        "capacity_before": CAPACITY,
        "capacity_after": math.floor(CAPACITY * FRAME_BYTES / LATENT_BYTES),
        "size": replay["size"],
        "latent_dtype": "float32",
        "latent_error": None,
        "clipped_share": None,
    }
    assert CAPACITY - 3 + STEPS - FREEZE_AT <= replay["size"] <= CAPACITY + STEPS - FREEZE_AT
    assert summary["updates_per_second"].keys() == {"before", "after"}
    assert all(rate > 0 for rate in summary["updates_per_second"].values())
    assert summary["peak_rss_bytes"] > max(r["rss_bytes"] for r in records if r["kind"] == "train") // 2
    assert summary["wall_seconds"] >= records[-1]["wall_seconds"] > 0
    evaluations = [record for record in records if record["kind"] == "eval"]
    assert summary["evaluation"] == [
        {name: record[name] for name in ("step", "mean", "std", "episodes")} for record in evaluations
    ]
    assert all(np.mean(record["returns"]) == record["mean"] for record in evaluations)
    assert summary["normalized_score"] == pytest.approx((evaluations[-1]["mean"] + 20.7) / (14.6 + 20.7))


def test_the_freeze_record(finished_run: Path) -> None:
    (freeze,) = [record for record in read_metrics(finished_run) if record["kind"] == "freeze"]
    assert freeze["step"] == FREEZE_AT
    assert freeze["rows"] == CAPACITY - 3  # three of the oldest have lost part of their stack of four
    assert freeze["capacity_after"] == CAPACITY * FRAME_BYTES // LATENT_BYTES
