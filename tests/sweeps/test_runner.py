"""Trials on this machine: their room, their order, how they end, and the view and the record of them."""

import json
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from seer.config import Config
from seer.errors import SettingError
from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import RunFolder, lock
from seer.sweeps import runner
from seer.sweeps.manifest import Manifest
from seer.sweeps.progress import Follower, Progress
from seer.sweeps.runner import LocalRunner, Room
from seer.sweeps.trial import Entry, Needs, Outcome, Trial, outcome_of, state_of

ANY = Config("e")


def test_trials_take_no_more_than_there_is() -> None:
    room, one = Room(cores=4, num_bytes=100), Needs(cpus=2, num_bytes=40)
    assert room.fits(one, [one])
    assert not room.fits(one, [one, one])  # cores
    assert not room.fits(Needs(1, 70), [one])  # memory
    assert not Room(4, 100, jobs=1).fits(one, [one])
    in_file = Needs(1, 1, file_bytes=60)
    assert Room(4, 100, file_bytes=100).fits(in_file, [one])
    assert not Room(4, 100, file_bytes=100).fits(in_file, [in_file])  # disk
    assert room.fits(Needs(64, 10**12), [])  # alone it may try


def test_a_trial_waits_for_its_forerunner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Trial("a", "e", "x", 0, ANY), Trial("b", "e", "y", 0, ANY, after="a")
    progress = Progress(tmp_path, steps={}, flops={})
    needs = dict.fromkeys("ab", Needs())
    engine = LocalRunner(tmp_path, needs=needs, room=Room(3, 10), retries=0, progress=progress)
    monkeypatch.setattr(runner, "start", lambda *_: subprocess.Popen(["true"]))
    assert engine._start_what_fits([first, second]) == [second]
    assert list(engine.running) == ["a"]
    engine.outcomes["a"] = Outcome("finished")
    assert engine._start_what_fits([second]) == []
    for _, process in engine.running.values():
        process.wait()


def test_what_waits_for_a_stopped_trial_has_not_failed(tmp_path: Path) -> None:
    first, second = Trial("a", "e", "x", 0, ANY), Trial("b", "e", "y", 0, ANY, after="a")
    for kind, becomes in (("stopped", "stopped"), ("failed", "failed"), ("killed", "failed")):
        progress = Progress(tmp_path, steps={}, flops={})
        engine = LocalRunner(tmp_path, needs={}, room=Room(1, 1), retries=0, progress=progress)
        engine.outcomes[first.name] = Outcome(kind)
        assert engine._drop_orphans([second]) == []
        assert engine.outcomes["b"].kind == becomes


def test_nothing_is_started_once_a_sweep_was_asked_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the first of three is being started: that one is told to stop, the others never begin."""
    trials = [Trial(name, "e", "x", 0, ANY) for name in "abc"]
    progress = Progress(tmp_path, steps=dict.fromkeys("abc", 1), flops=dict.fromkeys("abc", 1))
    needs = dict.fromkeys("abc", Needs())
    engine = LocalRunner(tmp_path, needs=needs, room=Room(3, 10), retries=0, progress=progress)
    started = []

    def start(trial: Trial, *_: object) -> "subprocess.Popen[bytes]":
        started.append(trial.name)
        engine._stop(signal.SIGINT, None)
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    monkeypatch.setattr(runner, "start", start)
    assert engine._start_what_fits(trials) == trials[1:]
    assert started == ["a"]
    assert engine.running["a"][1].wait(30) == -signal.SIGTERM


def test_trials_that_finished_before_are_counted_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that come after one that still trains in the only room there is."""
    trials = [Trial(name, "e", "x", 0, ANY) for name in "abc"]
    for trial in trials[1:]:
        with RunFolder.create(trial.folder(tmp_path), {"env": "x"}) as run:
            run.write_summary({})
    said: list[str] = []
    progress = Progress(tmp_path, steps=dict.fromkeys("abc", 1), flops=dict.fromkeys("abc", 1), quiet_seconds=0)
    monkeypatch.setattr(progress, "say", said.append)
    monkeypatch.setattr(
        runner, "start", lambda *_: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])
    )
    needs = dict.fromkeys("abc", Needs())
    engine = LocalRunner(tmp_path, needs=needs, room=Room(1, 10), retries=0, progress=progress)
    assert engine.run(trials)["c"].kind == "finished"
    assert said[0] == "a: starts"
    assert said[1].startswith("2 of 3 finished, 1 training")


def test_states(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert state_of(folder) == "new"
    with RunFolder.create(folder, {"env": "x"}):
        assert state_of(folder) == "busy"
    assert state_of(folder) == "resumable"  # from its first step
    save_checkpoint(folder / "checkpoints", 10, {"agent": {"x": 1}})
    assert state_of(folder) == "resumable"
    with RunFolder.open(folder, writing=True) as run:
        run.write_summary({})
        assert state_of(folder) == "busy"
    assert state_of(folder) == "finished"
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / ".lock").touch()
    assert state_of(tmp_path / "locked") == "new"
    for held in (True, False):
        with lock(tmp_path / "locked") if held else nullcontext():
            assert state_of(tmp_path / "locked") == ("busy" if held else "new")
    (tmp_path / "locked" / "checkpoints").mkdir()
    assert state_of(tmp_path / "locked") == "new"


def test_outcomes_say_why(tmp_path: Path) -> None:
    trial = Trial("a", "e", "x", 0, ANY)
    log = trial.log(tmp_path)
    log.parent.mkdir()
    log.write_text("training\nseer: error: --steps is odd\n")
    assert outcome_of(trial, tmp_path, 2).reason.startswith("--steps is odd (exit code 2")
    log.write_text("Traceback (most recent call last):\n  File\nRuntimeError: no luck\n\n")
    assert outcome_of(trial, tmp_path, 1) == Outcome("failed", f"RuntimeError: no luck (exit code 1, {log})")
    assert outcome_of(trial, tmp_path, 130).kind == "stopped"
    assert outcome_of(trial, tmp_path, -signal.SIGKILL).reason.startswith("killed by SIGKILL; the machine may be out")
    trial.folder(tmp_path).mkdir(parents=True)
    (trial.folder(tmp_path) / "summary.json").write_text("{}")
    assert outcome_of(trial, tmp_path, 1) == Outcome("finished")


def test_the_view_follows_a_run_that_goes_back_to_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    follower = Follower(tmp_path)
    follower.read()  # nothing there yet

    def record(step: int) -> str:
        return json.dumps({"kind": "eval", "step": step, "flops": 10 * step, "mean": step / 2})

    file.write_text(f"{record(10)}\n{record(20)}\n{record(30)[:9]}")
    follower.read()
    assert (follower.step, follower.flops, follower.score) == (20, 200, 10)
    file.write_text(f"{record(10)}\n")
    follower.read()
    assert follower.step == 10
    damaged = "{}\n[]\nnull\n" + '{"kind": "eval", "step": "x"}\n{"kind": "eval", "step": 1e999, "flops": 1}\n'
    file.write_text(f"{record(10)}\n{damaged}{record(20)}\n")
    follower.read()
    assert follower.step == 20


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    trials = (Entry("a", "e", "x", 0), Entry("b", "e", "x", 1))
    manifest = Manifest(trials, {"b": "why"})
    manifest.write(tmp_path / "sweep.json")
    assert Manifest.read(tmp_path / "sweep.json") == manifest
    later = Manifest((Entry("b", "e", "x", 1), Entry("c", "e", "x", 2)), {"c": "else"})
    joined = later.joined(tmp_path / "sweep.json")
    assert [trial.name for trial in joined.trials] == ["a", "b", "c"]
    assert joined.trials[1:] == later.trials
    assert joined.failures == {"b": "why", "c": "else"}
    assert later.joined(tmp_path / "none.json") == later
    for name, more in (("arm", {"flags": ["--env", "e"], "after": None}), ("group", {})):  # of earlier versions
        older = {"name": "a", "env": "e", name: "x", "seed": 0, **more}
        (tmp_path / "sweep.json").write_text(json.dumps({"title": "t", "trials": [older], "failures": {}}))
        assert Manifest.read(tmp_path / "sweep.json").trials == trials[:1]
    entry = {"name": "a", "env": "e", "variant": "x", "seed": 0}
    whole = {"title": "t", "trials": [entry], "failures": {}}
    for edited in ({}, whole | {"failures": []}, whole | {"trials": [entry | {"name": ["a"]}]}):
        (tmp_path / "sweep.json").write_text(json.dumps(edited))
        with pytest.raises(SettingError, match="no record of a sweep: restore it, or delete it"):
            later.joined(tmp_path / "sweep.json")
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="can't be written"):
        later.write(tmp_path / "file" / "sweep.json")


def test_a_trial_for_which_there_is_no_room_fails_alone(tmp_path: Path) -> None:
    """Its log can't be made; the sweep goes on to its end."""
    (tmp_path / "logs").touch()
    progress = Progress(tmp_path, steps={"a": 1}, flops={"a": 1})
    engine = LocalRunner(tmp_path, needs={"a": Needs()}, room=Room(1, 1), retries=1, progress=progress)
    outcome = engine.run([Trial("a", "e", "x", 0, ANY)])["a"]
    assert outcome.kind == "failed"
    assert outcome.reason.startswith("it can't be started (")
