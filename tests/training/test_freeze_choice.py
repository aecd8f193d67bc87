"""Runs whose freeze is chosen anew on the way: the same figures as if it had been chosen at the start."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from refusing import Capture, refused
from seer.core.freeze_rules import FreezeRule, StepMetrics
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from seer.runs.folder import read_metrics, read_summary
from tiny_run import SHORT_FLAGS, SHORT_STEPS, seer, stop_in_step

FRAME_BYTES = 84 * 84
STOPPED, FREEZE_AT = 70, 90
FLAGS = (*SHORT_FLAGS, "--steps", SHORT_STEPS, "--checkpoint-every", 1000)


def figures(run: Path) -> list[dict[str, Any]]:
    """The records of a run without what depends on the machine, and without the choice."""
    kept = [record for record in read_metrics(run) if record["kind"] != "freeze_choice"]
    return [{name: each[name] for name in each if "second" not in name and "rss" not in name} for each in kept]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as it would have been with that freeze from the start, and the replay of a run that is never frozen."""
    run = tmp_path_factory.mktemp("choice") / "whole"
    assert (
        seer("train", *FLAGS, "--freeze-at", FREEZE_AT, "--replay-memory", SHORT_STEPS * FRAME_BYTES, "--out", run) == 0
    )
    return run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is never to be frozen, stopped on the way."""
    run = tmp_path_factory.mktemp("choice") / "stopped"
    assert stop_in_step(STOPPED, "train", *FLAGS, "--freeze-at", "never", "--out", run, signal=signal.SIGTERM) == 130
    return run


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def test_a_run_freezes_at_the_step_chosen_on_the_way(
    whole: Path, stopped: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = copied(stopped, tmp_path / "run")
    assert seer("resume", run, "--freeze-at", FREEZE_AT) == 0
    assert "from here on: freeze at 90; before: never frozen; the replay stays as large" in capsys.readouterr().out
    assert figures(run) == figures(whole)
    (choice,) = [record for record in read_metrics(run) if record["kind"] == "freeze_choice"]
    assert (choice["step"], choice["before"], choice["now"]) == (STOPPED, "never", str(FREEZE_AT))
    ends = [
        load_checkpoint(latest_checkpoint(each / "checkpoints"))["agent"]["modules"]["online"] for each in (run, whole)
    ]
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[1])
    summary = read_summary(run)
    assert summary is not None
    assert (summary["freeze"]["mode"], summary["freeze"]["step"]) == ("step", FREEZE_AT)


def test_the_choice_survives_a_process_that_dies_after_it(whole: Path, stopped: Path, tmp_path: Path) -> None:
    """`config.json` has it then, the last checkpoint doesn't."""
    run = copied(stopped, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["freeze"]["at"], config["replay"]["memory"] = str(FREEZE_AT), str(SHORT_STEPS * FRAME_BYTES)
    (run / "config.json").write_text(json.dumps(config))
    assert seer("resume", run) == 0
    assert figures(run) == figures(whole)


class AfterSteps(FreezeRule):
    """Freeze once it has seen 30 steps."""

    def __init__(self) -> None:
        self.seen = 0

    def on_step(self, metrics: StepMetrics) -> None:
        self.seen += 1
        if self.seen == 30:
            self.due_from, self.reason = metrics.step, "30 steps"


def test_a_choice_can_be_a_rule_which_begins_there(stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    assert seer("resume", run, "--freeze-at", "test_freeze_choice:AfterSteps") == 0
    assert [record["step"] for record in read_metrics(run) if record["kind"] == "freeze"] == [STOPPED + 30]
    assert seer("card", run, "--out", tmp_path / "card") == 0
    assert "The rule of the freeze was chosen at step 70; the command" in (tmp_path / "card" / "README.md").read_text()


def test_a_run_can_be_prolonged_and_given_a_step_past_its_old_end(stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    assert seer("resume", run, "--steps", 160, "--freeze-at", 150) == 0
    steps = {record["kind"]: record["step"] for record in read_metrics(run)}
    assert (steps["prolong"], steps["freeze_choice"], steps["freeze"], steps["train"]) == (STOPPED, STOPPED, 150, 160)


def test_a_run_of_an_older_seer_can_be_given_a_step(whole: Path, stopped: Path, tmp_path: Path) -> None:
    """It had fewer settings, in `config.json` and in its checkpoints."""
    run = copied(stopped, tmp_path / "run")
    parts = load_checkpoint(latest_checkpoint(run / "checkpoints"))
    for settings in (parts["settings"], config := json.loads((run / "config.json").read_text())):
        del settings["freeze"]["encoder_weights"], settings["freeze"]["latest"]
    (run / "config.json").write_text(json.dumps(config))
    save_checkpoint(run / "checkpoints", STOPPED, parts)
    assert seer("resume", run, "--freeze-at", FREEZE_AT) == 0
    assert figures(run) == figures(whole)


def test_a_choice_can_be_taken_back(stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    assert stop_in_step(80, "resume", run, "--freeze-at", FREEZE_AT, signal=signal.SIGTERM) == 130
    assert seer("resume", run, "--freeze-at", "never") == 0
    assert not any(record["kind"] == "freeze" for record in read_metrics(run))
    assert [record["now"] for record in read_metrics(run) if record["kind"] == "freeze_choice"] == ["90", "never"]
    config = json.loads((run / "config.json").read_text())
    assert config["replay"]["memory"] == str(SHORT_STEPS * FRAME_BYTES)


def test_what_cannot_be_chosen_any_more(
    whole: Path, stopped: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # `refused` looks at every file there

    def complaint(run: Path, *flags: object) -> str:
        before = (run / "config.json").read_text()
        said = refused(capsys, "resume", run, *flags)
        assert (run / "config.json").read_text() == before
        return said

    run = copied(stopped, tmp_path / "run")
    assert "the run is at step 70 already; give a later step" in complaint(run, "--freeze-at", STOPPED)
    assert "past the end at --steps 120" in complaint(run, "--freeze-at", 121)
    assert "--freeze-at 'soon' is no step" in complaint(run, "--freeze-at", "soon")
    assert "is finished" in complaint(whole, "--freeze-at", 100)
    frozen = tmp_path / "frozen"
    assert stop_in_step(100, "train", *FLAGS, "--freeze-at", FREEZE_AT, "--out", frozen, signal=signal.SIGTERM) == 130
    assert "the run is frozen since step 90, which can't be undone" in complaint(frozen, "--freeze-at", 110)
