"""Sweeps on the local engine: grids, room, real short trainings that die in every way and go on."""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import psutil
import pytest
import torch

from drawing import needs_drawing
from seer import worker
from seer.config import Config, config_to_json
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.flags import read_settings
from seer.presets import change
from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import RunFolder
from seer.settings import flags_of
from seer.sweeps import runner
from seer.sweeps.grid import make_grid, read_grid, short_name, table_to_flags
from seer.sweeps.manifest import Manifest
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import Planned, cost_trials, refuse_other_runs
from seer.sweeps.progress import Follower, Progress
from seer.sweeps.run import room_for
from seer.sweeps.runner import LocalRunner, Room
from seer.sweeps.trial import Entry, Needs, Outcome, Trial, outcome_of, ready, start, state_of
from seer.training.build import build
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.cost import run_flops
from tiny_run import config_of, files, seer
from tiny_sweep import STEPS, has_checkpoint, is_finished, steps_of, write_grid

Capture = pytest.CaptureFixture[str]
ALIEN = "ALE/Alien-v5"
ANY = Config("e")


def planned(trial: Trial, config: Config) -> Planned:
    return Planned(dataclasses.replace(trial, config=config), Needs(), 1, 1, 1, 1, (1, 1))


# Grids -------------------------------------------------------------------------------------------------------------


def test_an_arm_overrides_its_environment_and_that_the_common_settings(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(
        'envs = ["ALE/Alien-v5", "dm_control/cartpole-swingup-v0"]\nseeds = [3, 5]\n'
        "[settings]\nsteps = 9000\nfreeze-at = 2000\nnum-crops = 1\nfirst_update = 1500\nlearning-rate = '3e-4'\n"
        '[per-env."ALE/Alien-v5"]\nfreeze-at = 4000\nprioritized = false\n'
        '[arms.plain]\n[arms.never]\nfreeze_at = "never"\n'
    )
    trials = {trial.name: trial for trial in read_grid(file).trials()}
    assert list(trials) == [
        *("Alien-plain-3", "Alien-never-3", "cartpole-swingup-plain-3", "cartpole-swingup-never-3"),
        *("Alien-plain-5", "Alien-never-5", "cartpole-swingup-plain-5", "cartpole-swingup-never-5"),
    ]
    plain = trials["Alien-plain-3"].config
    assert (plain.env, plain.seed, plain.steps, plain.freeze.at) == (ALIEN, 3, 9000, "4000")
    assert (plain.replay.prioritized, plain.learning.learning_rate, plain.learning.first_update) == (False, 3e-4, 1500)
    assert trials["cartpole-swingup-plain-5"].config.freeze.at == "2000"
    assert trials["Alien-never-5"].config.freeze.at == "never"
    assert trials["Alien-never-5"].config.threads == 1
    later = read_grid(file).trials(read_settings(["--steps=8000", "--no-double", "--threads", "2"]), threads=3)
    assert {(each.config.steps, each.config.value.double, each.config.threads) for each in later} == {(8000, False, 2)}


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    grid = make_grid(write_grid(tmp_path, seeds=2), envs=("ALE/Pong-v5",), seeds=(4,), freeze_at=("70", "never"))
    assert {trial.name for trial in grid.trials()} == {
        f"Pong-{group}-{seed}" for group in ("freeze-70", "never") for seed in range(4)
    }
    assert make_grid(None, envs=("A",), seeds=(4, 6), freeze_at=()).seeds == [4, 6]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("envs = [", "no TOML"),
        ("env = ['x']", "unknown env"),
        ("envs = 'ALE/Alien-v5'", "envs has to be a list"),
        ("envs = ['a']\nseeds = 0", "seeds 0"),
        ("envs = ['a']\nseeds = ['x']", "seeds"),
        ("envs = ['a']\nsettings = 3", "tables of flags"),
        ("envs = ['a']\narms = ['seer', 'never']", "tables of flags"),
        ("envs = ['a']\nper-env = 3", "tables of flags"),
        ("envs = ['a']\n[arms]\nseer = 3", "tables of flags"),
        ("envs = ['a']\n[per-env.b]\nsteps = 1", "[per-env] speaks of b"),
        ("envs = ['a']\n[settings]\nseed = 1", "use seeds"),
        ("envs = ['a']\n[settings]\nsteps = [1]", "steps = [1]"),
        ("envs = ['a/x', 'b/x']", "x-default-0 twice"),
        ("envs = []", "empty"),
        ("envs = ['a']\n[arms.'a/b']\nsteps = 1", "arm 'a/b'"),
    ],
)
def test_a_bad_grid_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(text)
    with pytest.raises(SettingError, match=re.escape(said)) as error:
        read_grid(file).trials()
    assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="can't be read"):
        read_grid(tmp_path / "missing.toml")


def test_flags() -> None:
    assert table_to_flags({"freeze_at": "never", "double": True, "prioritized": False, "steps": 3}) == [
        *("--freeze-at", "never", "--double", "--no-prioritized", "--steps", "3")
    ]
    assert [short_name(env) for env in (ALIEN, "dm_control/walker-walk-v0", "a b")] == ["Alien", "walker-walk", "a-b"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--env", ALIEN, "--seed", "3"],
        ["--env", ALIEN, "--agent", "dqn", "--seed", "3", "--no-double", "--freeze-at", "never", "--steps", "70000"],
        ["--env", "dm_control/walker-walk-v0", "--seed", "0", "--encoder-from", "a/b", "--freeze-layers", "2"],
        ["--env", ALIEN, "--seed", "1", "--replay-memory", "70MB", "--image-size", "42", "--learning-rate", "0.0003"],
    ],
)
def test_settings_come_back_as_the_flags_that_change_the_preset(flags: list[str]) -> None:
    config = config_of(flags)
    assert config_of(flags_of(config)) == config
    assert set(flags_of(config)) == set(flags) - {"--no-double"}  # of DQN's own preset
    assert change(config, {"steps": 9, "freeze.at": "5"}).freeze.at == "5"


# Room and order ----------------------------------------------------------------------------------------------------


def test_trials_take_no_more_than_there_is() -> None:
    room, one = Room(cores=4, num_bytes=100), Needs(cpus=2, num_bytes=40)
    assert room.fits(one, [one])
    assert not room.fits(one, [one, one])  # cores
    assert not room.fits(Needs(1, 70), [one])  # memory
    assert not Room(4, 100, jobs=1).fits(one, [one])
    assert room.fits(Needs(64, 10**12), [])  # alone it may try


def test_a_trial_waits_for_its_forerunner() -> None:
    first, second = Trial("a", "e", "x", 0, ANY), Trial("b", "e", "y", 0, ANY, after="a")
    assert ready([first, second], set()) == [first]
    assert ready([second], {"a"}) == [second]


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


# Where a trial stands ----------------------------------------------------------------------------------------------


def test_states(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert state_of(folder) == "new"
    with RunFolder.create(folder, {"env": "x"}):
        assert state_of(folder) == "busy"
    assert state_of(folder) == "dead"
    save_checkpoint(folder / "checkpoints", 10, {"agent": {"x": 1}})
    assert state_of(folder) == "resumable"
    with RunFolder.open(folder, writing=True) as run:
        run.write_summary({})
        assert state_of(folder) == "busy"
    assert state_of(folder) == "finished"
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / ".lock").touch()
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


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    trials = (Entry("a", "e", "x", 0), Entry("b", "e", "x", 1))
    manifest = Manifest("t", trials, {"b": "why"})
    manifest.write(tmp_path / "sweep.json")
    assert Manifest.read(tmp_path / "sweep.json") == manifest
    later = Manifest("u", (Entry("b", "e", "x", 1), Entry("c", "e", "x", 2)), {"c": "else"})
    joined = later.joined(tmp_path / "sweep.json")
    assert [trial.name for trial in joined.trials] == ["a", "b", "c"]
    assert joined.trials[1:] == later.trials
    assert joined.failures == {"b": "why", "c": "else"}
    assert later.joined(tmp_path / "none.json") == later
    older = {
        "name": "a",
        "env": "e",
        "arm": "x",
        "seed": 0,
        "flags": ["--env", "e"],
        "after": None,
    }  # of earlier versions
    (tmp_path / "sweep.json").write_text(json.dumps({"title": "t", "trials": [older], "failures": {}}))
    assert Manifest.read(tmp_path / "sweep.json").trials == trials[:1]
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(SettingError, match="no record of a sweep"):
        Manifest.read(tmp_path / "sweep.json")


# Mistakes on the command line --------------------------------------------------------------------------------------


def refused(capsys: Capture, *arguments: object) -> str:
    capsys.readouterr()
    assert seer(*arguments) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    return line


def test_a_mistake_in_any_run_is_one_line_before_any_work(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    assert "--envs" in refused(capsys, "sweep")
    assert "--out" in refused(capsys, "sweep", "--envs", ALIEN)
    assert "Alein" in refused(capsys, "sweep", "--envs", ALIEN, "ALE/Alein-v5", "--out", "s", "--", "--steps", "60000")
    assert "--freeze-at 50000" in refused(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--", "--steps", "100")
    assert "--stepz" in refused(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--", "--stepz", "100")
    assert "--jobbs" in refused(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--jobbs", "1")
    for flag in ("--seed=5", "--env=x", "--out=y"):
        assert f"use {flag[:5]}" in refused(capsys, "sweep", "--envs", ALIEN, "--out", "s", "--", flag)
    assert files(tmp_path) == before


def test_a_wrong_setting_names_its_run(tmp_path: Path, capsys: Capture) -> None:
    grid = write_grid(tmp_path, seeds=2)
    text = grid.read_text()
    grid.write_text(text + "\nreplay-capacity = 5")  # of the group never
    line = refused(capsys, "sweep", grid, "--out", tmp_path / "s")
    assert line == "seer: error: Alien-never-0: --replay-capacity 5 is less than batch size + n-step; give at least 7"
    grid.write_text(text + "\nimage-size = 8")  # only shows when the networks are built
    assert "seer: error: Alien-never-0: --encoder: 1 pixels" in refused(capsys, "sweep", grid, "--dry-run")


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--jobs", "-2"], "--jobs -2 must be 1 or more"),
        (["--threads", "0"], "--threads 0 must be 1 or more"),
        (["--retries", "-3"], "--retries -3 must be 0 or more"),
        (["--trial-cpus", "0"], "--trial-cpus 0 must be 1 or more"),
        (["--trial-gpus", "-1"], "--trial-gpus -1 must be 0 or more"),
        (["--trial-gpus", "1"], "--trial-gpus 1 is asked of Ray: add --ray local, or leave it out"),
        (["--trial-memory", "lots"], "--trial-memory 'lots' is no size; write it as 70MB, 1.5GB or 64MiB"),
        (["--ray", "local", "--jobs", "2"], "--jobs 2 is for this machine alone"),
        (["--envs"], "--envs names none; give one or more, or leave it out"),
        (["--freeze-at"], "--freeze-at names none"),
        (["--seeds"], "--seeds names none"),
    ],
)
def test_a_bad_flag_of_the_pool_is_one_line_before_anything_is_written(
    flags: list[str], said: str, *, dry: bool, tmp_path: Path, capsys: Capture
) -> None:
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    assert f"error: {said}" in refused(capsys, "sweep", grid, "--out", out, *flags, *(["--dry-run"] if dry else []))
    assert not out.exists()


def test_a_gpu_holds_one_run_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def jobs(device: str, asked: int | None = None) -> int | None:
        config = config_of(["--env", ALIEN, "--device", device])
        trials = [planned(Trial("a", ALIEN, "a", 0, ANY), config)]
        return room_for(trials, SweepOptions(jobs=asked)).jobs

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert jobs("auto") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [jobs("auto"), jobs("cuda"), jobs("cpu"), jobs("auto", 3)] == [1, 1, None, 3]


def test_what_a_run_never_reads_makes_it_no_other_run(tmp_path: Path) -> None:
    """Thresholds of --freeze-at auto in a run that freezes at a step; nor does a setting younger than the run."""

    def check(at: str, **freeze: object) -> None:
        config = config_of(["--env", ALIEN, "--freeze-at", at])
        record = config_to_json(config)
        (folder / "config.json").write_text(json.dumps(record | {"freeze": record["freeze"] | freeze}))
        refuse_other_runs([planned(trial, config)], tmp_path)

    trial = Trial("Alien-x-0", ALIEN, "x", 0, ANY)
    folder = trial.folder(tmp_path)
    RunFolder.create(folder, config_to_json(config_of(["--env", ALIEN]))).close()
    for at in ("50000", "never"):
        check(at, similarity=0.99, patience=9)
    with pytest.raises(SettingError, match=r"it differs in freeze\.similarity"):
        check("auto", similarity=0.99)
    older = json.loads((folder / "config.json").read_text())
    del older["freeze"]["latent_pool"]
    (folder / "config.json").write_text(json.dumps(older | {"freeze": older["freeze"] | {"similarity": 0.985}}))
    config = config_of(["--env", ALIEN, "--freeze-at", "auto"])
    refuse_other_runs([planned(trial, config)], tmp_path)


def test_a_trial_goes_on_with_what_it_is_given_now(tmp_path: Path) -> None:
    flags = ("--env", ALIEN, "--threads", "3", "--freeze-at", "never", "--device=cpu", "--no-prioritized")
    config, folder = config_of(flags), tmp_path / "run"
    with patch("seer.trainer.start_run") as start:
        worker.train_trial(config, folder)
    start.assert_called_once_with(dataclasses.replace(config, out=str(folder)))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert state_of(folder) == "dead"
    assert files(folder).keys() == {"config.json"}  # looking leaves nothing behind
    with patch("seer.sweeps.trial.state_of", return_value="resumable"), patch("seer.trainer.resume_run") as resume:
        worker.train_trial(config, folder)
    changes = {"device": "cpu", "threads": 3, "env_timeout": 300, "checkpoint_every": 10_000, "snapshot_every": None}
    changes["log"] = ()
    resume.assert_called_once_with(folder, changes)


def test_a_run_from_another_encoder_is_another_run(tmp_path: Path) -> None:
    def config(source: str) -> Config:
        return config_of(["--env", ALIEN, "--steps", "300", "--encoder-from", source])

    trial = Trial("Alien-x-0", ALIEN, "x", 0, ANY)
    RunFolder.create(trial.folder(tmp_path), config_to_json(config("here/runs/stand-for-6000-0"))).close()

    def check(source: str) -> None:
        refuse_other_runs(
            [Planned(dataclasses.replace(trial, config=config(source)), Needs(), 1, 1, 1, 1, (1, 1))], tmp_path
        )

    check("elsewhere/runs/stand-for-6000-0")
    with pytest.raises(SettingError, match=r"another run \(it differs in freeze\.encoder_from\)"):
        check("here/runs/stand-for-3000-0")


def test_what_computes_in_another_precision_is_another_run_if_one_was_asked_for(tmp_path: Path) -> None:
    def config(*flags: str) -> Config:
        return config_of(["--env", "dm_control/walker-walk-v0", *flags])

    trial = Trial("walker-x-0", "e", "x", 0, ())
    RunFolder.create(trial.folder(tmp_path), config_to_json(config("--precision", "bfloat16"))).close()

    def check(*flags: str) -> None:
        refuse_other_runs(
            [Planned(dataclasses.replace(trial, config=config(*flags)), Needs(), 1, 1, 1, 1, (1, 1))], tmp_path
        )

    check()  # auto: begun on a machine that decided so
    with pytest.raises(SettingError, match=r"another run \(it differs in learning\.precision\)"):
        check("--precision", "float32")


# Plans -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ("--env", "dm_control/cheetah-run-v0", "--replay-capacity", "1000"),
        ("--env", "dm_control/cartpole-swingup-v0", "--replay-capacity", "1000", "--encoder", "impala"),
        ("--env", ALIEN, "--replay-capacity", "10000"),
    ],
)
def test_a_trial_asks_for_the_memory_of_its_runs_own_budget(flags: tuple[str, ...]) -> None:
    if flags[1].startswith("dm_control"):
        needs_drawing()
    config = config_of((*flags, "--threads", "1", "--eval-episodes", "1", "--device", "cpu"))
    trial = Trial("a", config.env, "x", 0, config)
    (found,) = cost_trials([trial], SweepOptions())
    assert found.needs.num_bytes == build(config).budget
    (found,) = cost_trials([trial], SweepOptions(trial_memory="9GB", trial_cpus=3))
    assert found.needs == Needs(cpus=3, num_bytes=9 * 10**9)


@pytest.mark.parametrize("flags", [("--trial-memory", "1000TB"), ("--trial-cpus", "4000"), ("--jobs", "1")])
def test_a_dry_run_counts_by_what_a_run_asks_for(flags: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    grid = write_grid(tmp_path, seeds=1)
    assert seer("sweep", grid, "--dry-run", "--no-measure", *flags) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("2 runs, 2 to go, 1 at a time here: ")
    assert ("at most 1000.00 TB of memory" in said) == ("1000TB" in flags)


@pytest.mark.parametrize("every", [1, 7])
def test_an_automatic_freeze_costs_at_most_its_dearest_moment(every: int, tmp_path: Path, capsys: Capture) -> None:
    """Against every moment there is; the table and the sum say that they are bounds."""
    flags = (
        *("--env", ALIEN, "--steps", "300", "--freeze-at", "auto", "--freeze-earliest", "20", "--first-update", "60"),
        *("--replay-capacity", "250", "--probe-every", "40", "--probe-size", "32", "--threads", "1", "--device", "cpu"),
        *("--update-every", str(every)),
    )
    config = config_of(flags)
    (found,) = cost_trials([Trial("a", ALIEN, "x", 0, config)], SweepOptions())
    environment = build_environment(config, training=False)
    cost = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0]).cost
    run = {"updates": 1, "update_every": every, "steps": 300, "first_update": 60, "capacity": 250}
    each = [run_flops(cost, after=Phase.LATENTS, frozen_at=moment, **run)[1] for moment in (None, *range(20, 301))]
    assert found.flops == max(each) + 7 * 2 * 32 * cost.encoder.multiply_adds
    grid = tmp_path / "grid.toml"
    grid.write_text(f'envs = ["{ALIEN}"]\n[settings]\nfreeze-at = "auto"\nsteps = 20000\n')
    assert seer("sweep", grid, "--dry-run", "--no-measure") == 0
    said = capsys.readouterr().out
    assert re.search(r" auto +at most \d\.\d\de\+\d\d \(10\d%\) ", said)
    assert re.search(r"at a time here: at most \S+ FLOPs;", said)


def test_a_training_can_be_tried_dry(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = (
        "--env",
        ALIEN,
        "--steps",
        2000,
        "--freeze-at",
        1700,
        "--replay-capacity",
        300,
        "--eval-episodes",
        1,
        "--dry-run",
    )
    assert seer("train", *flags) == 0
    said = capsys.readouterr().out
    for words in ("Rainbow + SEER, freeze at 1,700", "2.1 MB; 7,056 → 2,304 bytes a step", "hours at the speed"):
        assert words in said
    assert "--replay-capacity 5" in refused(capsys, "train", *flags, "--replay-capacity", 5)
    assert "fewer than 29 are always alike" in refused(
        capsys, "train", "--env", ALIEN, "--freeze-at", "auto", "--probe-size", 28
    )
    assert files(tmp_path) == {}


def test_other_runs_of_the_same_name_are_not_touched(tmp_path: Path, capsys: Capture, finished_run: Path) -> None:
    out = tmp_path / "sweep"
    shutil.copytree(finished_run, out / "runs" / "Pong-never-0")
    before = files(out)
    line = refused(capsys, "sweep", "--envs", "ALE/Pong-v5", "--freeze-at", "never", "--out", out)
    assert "Pong-never-0 is another run (it differs in" in line
    assert "learning.hidden_units" in line
    assert files(out) == before


def test_one_sweep_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "sweep"
    with RunFolder.create(out, {}):
        assert "another process" in refused(
            capsys, "sweep", write_grid(tmp_path, seeds=1), "--out", out, "--no-measure"
        )


def test_a_dry_run_says_what_it_costs_and_does_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, seeds=3)
    before = files(tmp_path)
    assert seer("sweep", grid, "--dry-run") == 0
    said = capsys.readouterr().out
    assert files(tmp_path) == before
    assert "--seed {0,1,2}" in said
    assert re.search(r"Alien +never +3 +240 +never +\S+ \(100%\) +1\.4 MB +7056 ", said)
    assert re.search(r"Alien +seer +3 +240 +160 +\S+ \(\d\d%\) +1\.4 MB +7056 → 2304 +\d", said)
    assert re.search(r"6 runs, 6 to go, \d at a time here: \S+ FLOPs; .*; \d+\.\d hours of training", said)


# Real trainings ----------------------------------------------------------------------------------------------------


PATIENCE = 900  # seconds: only what hangs takes that long, on a machine however busy


def start_sweep(grid: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "seer", "sweep", str(grid), "--out", str(out), "--no-measure", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def training_process(out: Path, name: str) -> int:
    """The process that trains a run of this sweep."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "seer.worker" in words and str(out / "runs" / name) in words:
            return int(entry.parent.name)
    raise AssertionError(f"nothing trains {name}")


def leave_a_dead_run(folder: Path, grid: Path) -> None:
    """What the training of the grid's run of this name leaves when it is killed in its first checkpoint."""
    (trial,) = (trial for trial in read_grid(grid).trials() if trial.name == folder.name)
    with RunFolder.create(folder, config_to_json(trial.config)):
        (folder / "metrics.jsonl").write_text("its last words\n")
        (folder / "checkpoints" / ".writing-step-000000040").mkdir(parents=True)


STARTS_AND_WAITS = """
import os, subprocess, sys
waits = "import os, time, seer.worker; seer.worker.stop_with(%d); print(os.getpid(), flush=True); time.sleep(600)"
subprocess.run([sys.executable, "-c", waits % os.getpid()])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a training outlives its sweep elsewhere")
def test_a_training_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        command = int(starter.stdout.readline())
        assert not is_gone(command)
        starter.kill()
        wait_until(lambda: is_gone(command))


def test_a_run_that_died_before_its_first_checkpoint_is_kept_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, started = write_grid(tmp_path, seeds=1), []

    def popen(command: list[str], **_: object) -> SimpleNamespace:
        started.append(command)
        return SimpleNamespace(stdin=io.BytesIO())

    monkeypatch.setattr(subprocess, "Popen", popen)
    (trial,) = (trial for trial in read_grid(grid).trials() if trial.name == "Alien-never-0")
    leave_a_dead_run(trial.folder(tmp_path), grid)
    start(trial, tmp_path, Needs(cpus=1, num_bytes=1))
    assert "seer.worker" in started[0]
    assert not trial.folder(tmp_path).exists()
    (aside,) = (tmp_path / "abandoned").iterdir()
    assert aside.name == "Alien-never-0.1"
    assert (aside / "metrics.jsonl").read_text() == "its last words\n"
    assert not list(aside.glob("checkpoints/.writing-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a training outlives its sweep elsewhere")
def test_a_sweep_survives_sigkill_and_its_trainings_do_not(tmp_path: Path, capsys: Capture) -> None:
    """Killed in the middle of a run, started again: it goes on, and repeats nothing; then there is nothing to do.

    The other run died before its first checkpoint: it starts anew, and what it left is kept.
    """
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    first = out / "runs" / "Alien-seer-0"
    leave_a_dead_run(out / "runs" / "Alien-never-0", grid)
    sweep = start_sweep(grid, out, "--jobs", "1")
    wait_until(lambda: has_checkpoint(first))
    training = training_process(out, "Alien-seer-0")
    sweep.kill()
    sweep.communicate()
    wait_until(lambda: is_gone(training))
    assert not is_finished(first)
    again = start_sweep(grid, out, "--jobs", "1")
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    assert re.match(r"2 runs, 2 to go, 1 at a time here: \S+ FLOPs; at most \S+ MB of memory", said)  # before it trains
    assert "Alien-seer-0: goes on from its checkpoint" in said
    for name in ("Alien-seer-0", "Alien-never-0"):
        assert steps_of(out / "runs" / name) == list(range(20, STEPS + 1, 20))
    assert "Alien-never-0: starts anew: it died before its first checkpoint" in said
    (aside,) = (out / "abandoned").iterdir()
    assert aside.name == "Alien-never-0.1"
    assert (aside / "metrics.jsonl").read_text() == "its last words\n"
    assert not list(aside.glob("checkpoints/.writing-*"))
    before = files(out / "runs")
    assert seer("sweep", grid, "--out", out, "--no-measure") == 0
    assert "2 of 2 runs finished" in capsys.readouterr().out
    assert files(out / "runs") == before


def sweep_until(condition: Callable[[], bool], then: Callable[[], None], *arguments: object) -> int:
    """The exit code of `seer sweep` in this process; another thread does `then` once the condition holds."""

    def interfere() -> None:
        wait_until(condition)
        then()

    with ThreadPoolExecutor(max_workers=1) as other:
        interfering = other.submit(interfere)
        code = seer("sweep", *arguments, "--jobs", "1", "--no-measure")
        interfering.result()
    return code


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_trials_that_die_or_fail(tmp_path: Path, capsys: Capture) -> None:
    """One training is killed and goes on; one can't load its checkpoint and is listed; Ctrl-C leaves all resumable."""
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    broken, killed = out / "runs" / "Alien-seer-0", out / "runs" / "Alien-never-0"

    def press_ctrl_c() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert sweep_until(lambda: has_checkpoint(broken), press_ctrl_c, grid, "--out", out) == 130
    assert "2 stopped; the same command goes on with them" in capsys.readouterr().out
    assert state_of(broken) == "resumable"
    assert state_of(killed) == "new"
    (damaged,) = (broken / "checkpoints" / (broken / "checkpoints" / "latest").read_text().strip()).glob("agent.*")
    damaged.write_bytes(damaged.read_bytes()[:-1])

    def kill() -> None:
        os.kill(training_process(out, "Alien-never-0"), signal.SIGKILL)

    assert sweep_until(lambda: has_checkpoint(killed), kill, grid, "--out", out) == 1
    said = capsys.readouterr().out
    assert "Alien-never-0: killed by SIGKILL; the machine may be out of memory; going on" in said
    assert re.search(
        r"failed: Alien-seer-0: checkpoint file .* is damaged: .*\(exit code 2, .*Alien-seer-0\.log\)", said
    )
    assert "1 of 2 runs finished" in said
    assert steps_of(killed) == list(range(20, STEPS + 1, 20))
    assert Manifest.read(out / "sweep.json").failures.keys() == {"Alien-seer-0"}
