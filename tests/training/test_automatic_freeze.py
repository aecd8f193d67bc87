"""Automatic freezing, the drift monitor and resets in whole runs: what happens, what it costs, and resuming."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from painted_run import CAPACITY, PROBE_EVERY, STEPS, finish, make_training
from seer.core.freeze_rules import FreezeAt, FreezeRule, StepMetrics
from seer.core.freeze_when_settled import FreezeWhenSettled
from seer.core.phase import Phase
from seer.runs.folder import read_metrics
from seer.runs.snapshots import list_snapshots, load_weights, read_snapshot
from seer.training.build import fresh_seeds
from seer.training.state import TrainingState
from small_agent import make_agent
from tiny_run import machine_free_records

Record = dict[str, Any]

METRICS = Path(__file__).parents[2] / "docs/metrics.md"

FROZEN_AT = 160  # by `settled`, on painted frames


class Listening(FreezeWhenSettled):
    """Remembers what it was told."""

    def on_step(self, metrics: StepMetrics) -> None:
        super().on_step(metrics)
        vars(self).setdefault("heard", []).append(metrics)


def settled() -> FreezeRule:
    """Freezes as soon as scores have risen: any similarity will do, from step 80 on for as long again."""
    return Listening(threshold=0.0, patience=3, earliest=80)


def auto() -> TrainingState:
    return make_training(settled(), reset_every=90, snapshot_every=100)


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingState, str]:
    path = tmp_path_factory.mktemp("auto") / "run"
    return path, *finish(auto, path)


def of_kind(path: Path, kind: str) -> list[Record]:
    return [record for record in read_metrics(path) if record["kind"] == kind]


def test_every_metric_is_in_the_table_of_its_kind(frozen_run: tuple[Path, TrainingState, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)$", METRICS.read_text(), re.MULTILINE)
    told = {kind: set(re.findall(r"`(\w+)`", text)) for kind, text in rows}
    always = {"kind", "step", "frames", "flops", "wall_seconds"}
    records = read_metrics(frozen_run[0])
    assert {record["kind"] for record in records} == told.keys() - {"prolong", "freeze_choice"}  # of resumed runs
    assert [record for record in records if record.keys() - told[record["kind"]] - always] == []


def test_it_freezes_and_says_why(frozen_run: tuple[Path, TrainingState, str]) -> None:
    path, run, said = frozen_run
    summary = json.loads((path / "summary.json").read_text())
    probes, (freeze,) = of_kind(path, "probe"), of_kind(path, "freeze")
    # Nothing is learnt before step 30; the first probe after it, at 40, compares with the copy of step 20.
    assert [probe["step"] for probe in probes] == list(range(40, FROZEN_AT + 1, PROBE_EVERY))
    waiting = {"features still change", "features alike, not for long enough yet", "score at its floor"}
    early = "comparisons before step 80 don't count"
    assert all(probe["reason"] == early if probe["step"] < 80 else probe["reason"] in waiting for probe in probes[:-1])
    assert summary["freeze"] == {
        "mode": "auto", "step": FROZEN_AT, "reason": "features settled", "similarity": probes[-1]["cka"],
    }  # fmt: skip
    assert summary["frozen_at"] == freeze["step"] == FROZEN_AT
    assert freeze["reason"] == "features settled"
    assert freeze["row_bytes_after"] < freeze["row_bytes_before"]
    assert 0 < probes[-1]["cka"] < 1
    assert 0 < probes[-1]["svcca"] < 1
    assert run.agent.phase is Phase.LATENTS
    assert (
        f"step {FROZEN_AT}: encoder frozen (features settled, similarity {summary['freeze']['similarity']:.3f})" in said
    )


def test_the_rule_is_told_at_every_step_until_the_freeze_what_records_say(
    frozen_run: tuple[Path, TrainingState, str],
) -> None:
    path, run, _ = frozen_run
    heard: list[StepMetrics] = vars(run.freeze_rule)["heard"]
    assert [metrics.step for metrics in heard] == list(range(1, FROZEN_AT + 1))
    assert [metrics.updates for metrics in heard] == [max(0, step - 30) for step in range(1, FROZEN_AT + 1)]
    episodes = [record for record in of_kind(path, "episode") if record["step"] <= FROZEN_AT]
    assert [score for metrics in heard for score in metrics.episode_returns] == [
        record["episode_return"] for record in episodes
    ]
    assert {metrics.step: (metrics.cka, metrics.svcca) for metrics in heard if metrics.cka is not None} == {
        record["step"]: (record["cka"], record["svcca"]) for record in of_kind(path, "probe")
    }
    assert heard[29].losses == {}  # step 30 has the first update, which the rule hears of a step later
    losses = [metrics.losses["loss"] for metrics in heard[30:51]]
    assert np.mean(losses) == pytest.approx(of_kind(path, "train")[0]["loss"], rel=1e-5)
    assert len(set(losses)) == len(losses)


def test_probes_are_counted_and_cheap(frozen_run: tuple[Path, TrainingState, str]) -> None:
    path, run, _ = frozen_run
    probes, cost = of_kind(path, "probe"), run.ledger.cost
    assert [probe["observations"] for probe in probes] == [16] * len(probes)
    assert run.ledger.probe == 2 * 16 * len(probes) * cost.encoder.multiply_adds
    updates = STEPS - 30 + 1
    before = FROZEN_AT - 30  # updates before the freeze, which comes before the update of its step
    by_hand = (
        STEPS * cost.act + (STEPS - FROZEN_AT) * cost.store + cost.store * min(FROZEN_AT, CAPACITY)
        + before * cost.update(Phase.FRAMES) + (updates - before) * cost.update(Phase.LATENTS) + run.ledger.probe
    )  # fmt: skip
    assert run.ledger.total == by_hand
    assert json.loads((path / "summary.json").read_text())["flops"]["probe"] == run.ledger.probe


def test_guards_are_recorded_after_the_freeze_alone(frozen_run: tuple[Path, TrainingState, str]) -> None:
    guards = of_kind(frozen_run[0], "guard")
    assert [guard["step"] for guard in guards] == list(range(FROZEN_AT + PROBE_EVERY, STEPS + 1, PROBE_EVERY))
    for guard in guards:
        assert guard["feature_norm"] > 0
        assert guard["feature_distance"] > 0
        assert 0 <= guard["dormant_share"] <= 1
        assert 1 <= guard["effective_rank"] <= 16


def test_warnings_are_told_once(frozen_run: tuple[Path, TrainingState, str]) -> None:
    """Numbers painted into frames grow for ever, so that frames are soon unlike those at the freeze."""
    path, _, said = frozen_run
    lines = [line for guard in of_kind(path, "guard") for line in guard["warnings"]]
    assert any("hasn't learnt from" in line for line in lines)
    assert len(lines) == len(set(lines)) == said.count("warning:")


OTHER_STEPS = [pytest.param(step, marks=pytest.mark.slow) for step in (50, FROZEN_AT - 1, FROZEN_AT + 1, 250)]


@pytest.mark.parametrize("step", [FROZEN_AT, *OTHER_STEPS], ids=str)
def test_a_stopped_run_goes_on_to_the_same_end(
    frozen_run: tuple[Path, TrainingState, str], tmp_path: Path, step: int
) -> None:
    run, _ = finish(auto, tmp_path / "run", stop_at=step)
    assert machine_free_records(tmp_path / "run") == machine_free_records(frozen_run[0])
    for name, module in frozen_run[1].agent.modules().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, run.agent.modules()[name].state_dict()[key]), (name, key)
    assert run.freeze_rule.state_dict() == frozen_run[1].freeze_rule.state_dict()
    heard, all_heard = (vars(rule).get("heard", []) for rule in (run.freeze_rule, frozen_run[1].freeze_rule))
    assert heard == all_heard[step:]


@pytest.mark.slow
def test_until_the_freeze_automatic_is_as_never(frozen_run: tuple[Path, TrainingState, str], tmp_path: Path) -> None:
    """Probing draws no random number and changes nothing but the FLOPs."""
    never = partial(make_training, FreezeAt(None), reset_every=90)
    finish(never, tmp_path / "run")
    until = [
        [
            {k: v for k, v in r.items() if k != "flops"}
            for r in machine_free_records(path)
            if r["step"] < FROZEN_AT and r["kind"] != "probe"
        ]
        for path in (frozen_run[0], tmp_path / "run")
    ]
    assert until[0] == until[1]
    assert len(until[0]) > 20


def test_what_never_settles_is_frozen_at_the_latest_step(tmp_path: Path) -> None:
    freezing = FreezeWhenSettled(threshold=1.0, patience=1, earliest=0, latest=210)
    run, _ = finish(lambda: make_training(freezing, steps=220), tmp_path / "run")
    assert (run.frozen_at, run.freeze_rule.reason) == (210, "latest step")


def test_resets_are_recorded(frozen_run: tuple[Path, TrainingState, str]) -> None:
    assert [reset["step"] for reset in of_kind(frozen_run[0], "reset")] == [90, 180, 270, 360]


def test_a_reset_gives_the_heads_the_weights_of_its_step(tmp_path: Path) -> None:
    """Snapshots are taken before anything is learnt from fresh heads; the encoder goes on, and its freeze holds."""
    finish(partial(make_training, settled(), steps=200, reset_every=90, snapshot_every=90), tmp_path / "run")
    snapshots = list_snapshots(tmp_path / "run")
    for step in (90, 180):
        found, fresh = read_snapshot(snapshots[step]), make_agent(num_actions=3, seed=step)
        for name, value in fresh.online.state_dict().items():
            assert torch.equal(found[f"online.{name}"], value) == name.startswith("head."), name
    assert fresh_seeds(0, 90) != fresh_seeds(0, 180) != fresh_seeds(1, 180)


def test_snapshots_hold_the_weights_of_their_step(frozen_run: tuple[Path, TrainingState, str]) -> None:
    path, run, _ = frozen_run
    snapshots = list_snapshots(path)
    assert list(snapshots) == [0, 100, 200, 300]
    at_start = make_agent(num_actions=3)
    for name, value in at_start.online.state_dict().items():
        assert torch.equal(read_snapshot(snapshots[0])[f"online.{name}"], value)
    load_weights(at_start, read_snapshot(snapshots[200]))  # after the freeze the encoder stays as it is
    for name, value in at_start.online.encoder.state_dict().items():
        assert torch.equal(value, run.agent.online.encoder.state_dict()[name])
    assert not torch.equal(read_snapshot(snapshots[0])["online.encoder.stages.0.weight"],
                           read_snapshot(snapshots[100])["online.encoder.stages.0.weight"])  # fmt: skip
