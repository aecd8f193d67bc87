"""Runs that go on past their planned end: the same figures where everything was kept, said plainly where not."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from painted_run import PROBE_EVERY, finish, make_training
from refusing import Capture, refused
from seer.core.freeze_rules import FreezeAt
from seer.core.freeze_when_settled import FreezeWhenSettled
from seer.core.phase import Phase
from seer.presets import change, preset
from seer.replay import RowFormat
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from seer.runs.folder import read_metrics
from seer.training.build_replay import replay_bytes
from seer.training.loop import compare_features_if_due
from seer.training.state import TrainingState
from tiny_run import SHORT_FIRST_UPDATE, SHORT_FLAGS, SHORT_STEPS, seer, stop_in_step

PLANNED, PROLONGED, FIRST_UPDATE = SHORT_STEPS, 200, SHORT_FIRST_UPDATE
FLAGS = (*SHORT_FLAGS, "--reset-heads-every", 60)  # which is due where the run was to end
Record = dict[str, Any]


def figures(run: Path, *, without: tuple[str, ...] = ()) -> list[Record]:
    """The records of a run without what depends on the machine."""
    records = [record for record in read_metrics(run) if record["kind"] not in without]
    return [
        {name: value for name, value in each.items() if "second" not in name and "rss" not in name} for each in records
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = load_checkpoint(latest_checkpoint(run / "checkpoints"))["agent"]["modules"]["online"]
    return {name: tensor.clone() for name, tensor in state.items()}


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as it would have been if it had been begun with more steps than it was planned for."""
    folder = tmp_path_factory.mktemp("prolong") / "longer"
    assert seer("train", *FLAGS, "--steps", PROLONGED, "--planned-steps", PLANNED, "--out", folder) == 0
    return folder


def test_a_finished_run_with_its_replay_goes_on_as_if_it_had_never_ended(longer: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert seer("train", *FLAGS, "--steps", PLANNED, "--keep-replay", "--out", run) == 0
    assert seer("resume", run, "--steps", PROLONGED) == 0
    (prolonged,) = [record for record in read_metrics(run) if record["kind"] == "prolong"]
    assert [prolonged[name] for name in ("step", "steps_before", "steps", "replay", "updates_from")] == [
        PLANNED, PLANNED, PROLONGED, "kept", PLANNED + 1,
    ]  # fmt: skip
    ended = [record for record in figures(run) if record["kind"] == "eval"]
    assert [record["step"] for record in ended] == [PLANNED, PROLONGED]
    assert [
        record for record in figures(run, without=("prolong",)) if record is not None and record not in ended[:1]
    ] == (figures(longer))
    assert same_weights(run, longer)
    config, summary = (json.loads((run / f"{name}.json").read_text()) for name in ("config", "summary"))
    assert (config["steps"], config["planned_steps"]) == (PROLONGED, PLANNED)
    assert (summary["steps"], [each["step"] for each in summary["evaluation"]]) == (PROLONGED, [PLANNED, PROLONGED])
    assert json.loads((run / f"summary-at-{PLANNED}.json").read_text())["steps"] == PLANNED


@pytest.mark.slow
def test_an_interrupted_run_is_prolonged_to_the_same_figures(longer: Path, tmp_path: Path) -> None:
    """Stopped before the freeze; its replay and the importance exponent are those of the steps it was planned for."""
    run = tmp_path / "run"
    assert stop_in_step(70, "train", *FLAGS, "--steps", PLANNED, "--out", run, signal=signal.SIGTERM) == 130
    assert seer("resume", run, "--steps", PROLONGED) == 0
    assert figures(run, without=("prolong",)) == figures(longer)
    assert same_weights(run, longer)


def test_a_finished_run_without_its_replay_fills_a_new_one_first(
    short_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    before = weights(run)
    assert stop_in_step(150, "resume", run, "--steps", PROLONGED, signal=signal.SIGTERM) == 130
    said = " ".join(capsys.readouterr().out.split())
    assert f"prolonged from {PLANNED} to {PROLONGED} steps; the replay stays as large as it was" in said
    assert f"at its last value from step {PLANNED} on, as first planned: the exponent of the importance" in said
    assert f"empty one in new episodes, and updates go on at step {PLANNED + FIRST_UPDATE}" in said
    assert all(torch.equal(before[name], weight) for name, weight in weights(run).items())  # nothing learnt yet
    assert seer("resume", run) == 0
    steps = {kind: [r["step"] for r in figures(run) if r["kind"] == kind] for kind in ("episode", "guard")}
    assert steps["episode"] == [35, 70, 105, 155, 190]  # of 35 steps each; the one under way at 120 was given up
    assert steps["guard"][-1] == 200  # not at 160, with 40 observations in the replay
    assert 160 not in steps["guard"]
    records = [record for record in figures(run) if record["kind"] == "train" and record["step"] > PLANNED]
    assert [(each["step"], each["replay_size"]) for each in records[:3]] == [(130, 10), (140, 20), (150, 30)]
    assert [each["step"] for each in records if "loss" in each] == [170, 180, 190, 200]
    assert records[-1]["updates"] == PLANNED - FIRST_UPDATE + 1 + PROLONGED - PLANNED - FIRST_UPDATE + 1
    after = weights(run)
    frozen = {name for name in before if name.startswith("encoder.")}
    assert {name for name in before if torch.equal(before[name], after[name])} >= frozen
    assert any(not torch.equal(before[name], after[name]) for name in before)

    whole = tmp_path / "whole"  # the same without a stop
    shutil.copytree(short_run, whole)
    assert seer("resume", whole, "--steps", PROLONGED) == 0
    assert figures(whole) == figures(run)

    assert seer("card", whole, "--out", tmp_path / "card") == 0
    told = (tmp_path / "card" / "README.md").read_text()
    assert f"--steps {PROLONGED} --planned-steps {PLANNED}" in told
    assert f"At step {PLANNED} the run was prolonged with an empty replay, which the command doesn't do" in told


@pytest.mark.usefixtures("empty_folder")
def test_the_range_of_int8_is_not_fitted_to_a_handful(tmp_path: Path, capsys: Capture) -> None:
    """A finished run goes on with an empty replay, which has to fill first; nothing is changed by the refusal."""
    run = tmp_path / "run"
    flags = (*FLAGS, "--freeze-at", "never", "--latent-dtype", "int8")
    assert seer("train", *flags, "--steps", PLANNED, "--out", run) == 0
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    least = PLANNED + 256
    line = refused(capsys, "resume", run, "--steps", 500, "--freeze-at", least - 1)
    assert f"--freeze-at {least - 1}: the replay wasn't kept" in line
    assert f"give --freeze-at {least} or more" in line
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    assert stop_in_step(least + 1, "resume", run, "--steps", 500, "--freeze-at", least, signal=signal.SIGTERM) == 130
    assert any(record["kind"] == "freeze" for record in read_metrics(run))


@pytest.mark.usefixtures("empty_folder")
def test_nor_when_the_freeze_is_chosen_anew_on_the_way(tmp_path: Path, capsys: Capture) -> None:
    """Prolonged with an empty replay and stopped: what is stored then counts from there, not from step 0."""
    run = tmp_path / "run"
    flags = (*FLAGS, "--freeze-at", "never", "--latent-dtype", "int8")
    assert seer("train", *flags, "--steps", PLANNED, "--out", run) == 0
    assert stop_in_step(PLANNED + 10, "resume", run, "--steps", 500, signal=signal.SIGTERM) == 130
    least = PLANNED + 256
    assert f"give --freeze-at {least} or more" in refused(capsys, "resume", run, "--freeze-at", least - 1)
    assert stop_in_step(PLANNED + 20, "resume", run, "--freeze-at", least, signal=signal.SIGTERM) == 130


def test_a_prolongation_that_died_at_once_is_made_up_for(short_run: Path, tmp_path: Path) -> None:
    """The settings say more steps, nothing else does."""
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"steps": 130, "planned_steps": PLANNED}))
    assert seer("eval", run, "--episodes", 1) == 0
    assert seer("resume", run) == 0
    assert [r["step"] for r in read_metrics(run) if r["kind"] in ("prolong", "eval")] == [PLANNED, PLANNED, 130]


@pytest.mark.usefixtures("empty_folder")
def test_what_can_not_be_prolonged_is_refused(short_run: Path, capsys: Capture) -> None:
    shutil.copytree(short_run, "run")
    for steps in (PLANNED - 1, PLANNED):
        line = refused(capsys, "resume", "run", "--steps", steps)
        assert ("can't be shortened" in line) if steps < PLANNED else ("is finished" in line)
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps(config | {"steps": PROLONGED}))
    assert f"steps: {PLANNED} there, {PROLONGED} in config.json" in refused(capsys, "resume", "run")


@pytest.mark.usefixtures("empty_folder")
def test_a_run_that_an_earlier_seer_finished_is_not_prolonged(short_run: Path, capsys: Capture) -> None:
    shutil.copytree(short_run, "run")
    checkpoints = Path("run/checkpoints")
    state = load_checkpoint(latest_checkpoint(checkpoints))
    save_checkpoint(checkpoints, PLANNED, {name: state[name] for name in ("agent", "settings")}, keep=1)
    line = refused(capsys, "resume", "run", "--steps", PROLONGED)
    assert "kept the agent alone" in line
    assert "seer train --from run" in line


def test_few_observations_are_not_taken_for_settled_features(tmp_path: Path) -> None:
    """As in the steps after a run was prolonged whose freeze is still to be found."""
    rule = FreezeWhenSettled(earliest=0, threshold=1)
    run, _ = finish(lambda: make_training(rule, steps=3 * PROBE_EVERY), tmp_path / "run")
    assert (run.step, run.replay.size, run.agent.phase) == (3 * PROBE_EVERY, 0, Phase.FRAMES)
    run.replay_from = run.step
    assert compare_features_if_due(run) is None


def test_a_freeze_costs_what_was_stored_since_the_replay_was_empty(tmp_path: Path) -> None:
    def emptied() -> TrainingState:
        run = make_training(FreezeAt(60), steps=70)
        run.step = run.replay_from = 50
        return run

    run, _ = finish(emptied, tmp_path / "run")
    assert run.phase_after_freeze is Phase.LATENTS
    assert run.ledger.freeze == run.agent.cost.freeze(10)


def test_the_replay_is_as_large_as_the_planned_steps_need() -> None:
    frame, latent = RowFormat((1, 84, 84), torch.uint8), RowFormat((1, 1, 576), torch.float32)
    for at, rows in {"never": 500 * 7056, "60": 500 * 2304 * 17 // 16}.items():
        config = change(preset("ALE/Pong-v5"), {"steps": 1000, "planned_steps": 500, "freeze.at": at})
        assert replay_bytes(config, frame, latent) == rows
