"""Several environments that act together: processes of their own, one step each, as many updates as with one."""

import json
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from light_worlds import failing
from seer.envs.atari import make_atari
from seer.envs.base import PixelEnvironment
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.envs.vector import EnvironmentProcess, play
from seer.errors import RunError, SettingError
from seer.signals import held_back
from seer.training import build_environment
from tiny_run import config_of, machine_free_records, seer, stop_in_step

Capture = pytest.CaptureFixture[str]
MINIGRID = partial(GymnasiumEnvironment, "minigrid:MiniGrid-Empty-5x5-v0", render_pixels=True, image_size=42)
ENVS, STEPS, FREEZE_AT, FIRST_UPDATE = 3, 240, 130, 60
FLAGS = (
    *("--env", "third_party:Shows-v0", "--num-envs", ENVS, "--steps", STEPS, "--freeze-at", FREEZE_AT, "--n-step", 3),
    *("--first-update", FIRST_UPDATE, "--hidden-units", 16, "--batch-size", 8, "--log-every", 20),
    *("--replay-capacity", 120, "--eval-every", STEPS, "--eval-episodes", 1, "--checkpoint-every", 50),
    *("--probe-every", 100, "--threads", 1, "--device", "cpu"),
)


def started(make: Any, *, seed: int = 3, time_limit: float = 60.0) -> EnvironmentProcess:
    process = EnvironmentProcess(make, time_limit=time_limit, seed=seed)
    process.wait()
    return process


def follow(environment: PixelEnvironment, process: EnvironmentProcess, steps: int) -> set[bool]:
    """Both play the same; which ends there were."""
    ends = set()
    for _ in range(steps):
        action = environment.action_space.sample()
        process.send(action)
        ours, theirs = play(environment, action), process.receive()
        assert (ours.reward, ours.terminated, ours.truncated) == (theirs.reward, theirs.terminated, theirs.truncated)
        assert ours.info.get("episode") == theirs.info.get("episode")
        assert (ours.final is None) == (theirs.final is None)
        assert ours.final is None or np.array_equal(ours.final, theirs.final)
        assert np.array_equal(environment.observe(), process.observe())
        if ours.terminated or ours.truncated:
            ends.add(ours.truncated)
    return ends


@pytest.mark.parametrize(
    ("make", "steps", "ends"),
    [(MINIGRID, 210, {True}), (partial(make_atari, "ALE/Breakout-v5", training=True), 150, {False})],
    ids=["minigrid", "atari"],
)
def test_an_environment_plays_there_as_it_does_here(make: Any, steps: int, ends: set[bool]) -> None:
    environment, process = make(), started(make)
    environment.reset(seed=3)
    environment.action_space.seed(0)
    assert ends <= follow(environment, process, steps)
    state = process.state_dict()
    follow(environment, process, 7)
    restored, again = make(), started(make, seed=4)
    restored.load_state_dict(state)
    again.load_state_dict(state)
    assert not again.is_lost
    follow(restored, again, 20)
    for each in (process, again):
        each.close()


# Failures


def play_there(process: EnvironmentProcess, *, steps: int) -> None:
    for _ in range(steps):
        process.send(0)
        process.receive()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("raises", "the environment failed in step: OSError: socket closed"),
        ("dies", r"an environment's process ended \(exit code 9\)"),
    ],
)
def test_a_failure_there_is_one_line_here(kind: str, said: str) -> None:
    process = started(partial(failing, kind))
    with pytest.raises(RunError, match=said) as failure:
        play_there(process, steps=3)
    assert "\n" not in str(failure.value)
    process.close()


def test_what_cant_be_made_there_is_said_here() -> None:
    with pytest.raises(SettingError, match="no such game"):
        started(partial(failing, "absent"))


def test_a_process_that_is_killed_is_noticed() -> None:
    process = started(MINIGRID)
    os.kill(process._process.pid or 0, signal.SIGKILL)
    with pytest.raises(RunError, match="process ended"):
        play_there(process, steps=1)
    process.close()


def test_signals_are_left_to_the_run() -> None:
    process = started(MINIGRID)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process._process.pid or 0, number)
    process.send(0)
    assert process.receive().reward == 0
    process.close()
    assert not process._process.is_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_process_starts_is_the_runs_affair(number: signal.Signals) -> None:
    """Ctrl-C in a terminal goes to all processes; this one was asked for nothing."""
    process = EnvironmentProcess(partial(GymnasiumEnvironment, "third_party:Shows-v0"), time_limit=60, seed=1)
    os.kill(process._process.pid, number)  # type: ignore[arg-type]
    process.wait()
    os.kill(process._process.pid, number)  # type: ignore[arg-type]
    process.restart()
    process.close()
    assert process._process.exitcode == 0


def test_a_signal_to_this_process_is_not_lost_meanwhile() -> None:
    def work() -> None:
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which processes of pytest-xdist don't have
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


# Through the command line


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "whole"
    assert seer("train", *FLAGS, "--out", folder) == 0
    return folder


def test_every_step_has_its_updates_and_its_row(whole_run: Path) -> None:
    """Three environments of episodes of 7 steps, which all end together."""
    records = machine_free_records(whole_run)
    train = {record["step"]: record for record in records if record["kind"] == "train"}
    assert {step: record["updates"] for step, record in train.items()} == {
        step: max(0, step - FIRST_UPDATE + 1) for step in range(20, STEPS + 1, 20)
    }
    assert [train[step]["replay_size"] for step in (20, 40, 60, 100)] == [18, 39, 60, 99]
    ends = [record["step"] for record in records if record["kind"] == "episode"]
    assert ends == [ENVS * step for step in range(7, STEPS // ENVS + 1, 7) for _ in range(ENVS)]


def test_it_costs_what_one_environment_costs(whole_run: Path, tmp_path: Path) -> None:
    assert seer("train", *FLAGS, "--num-envs", 1, "--out", tmp_path / "one") == 0
    many, one = (json.loads((folder / "summary.json").read_text()) for folder in (whole_run, tmp_path / "one"))
    assert many["flops"]["baseline"] == one["flops"]["baseline"]
    assert many["flops"]["freeze"] == one["flops"]["freeze"]
    assert many["replay"]["bytes"] == one["replay"]["bytes"]
    assert many["replay"]["capacity_before"] == 120


def test_no_environment_starts_as_another_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds of five environments are none of the run's own, of which the first environment has one."""
    seeds = []

    class Noted:
        def __init__(self, _make: Any, *, seed: int, **_: Any) -> None:
            seeds.append(seed)

        def wait(self) -> None:
            pass

    monkeypatch.setattr(build_environment, "EnvironmentProcess", Noted)
    for seed in range(3):
        seeds.clear()
        config = config_of(["--env", "ALE/Pong-v5", "--num-envs", "5", "--seed", str(seed)])
        build_environment.build_others(config)
        own = [int(each) for each in np.random.SeedSequence(seed).generate_state(7)]
        assert len({*seeds, *own}) == 4 + 7


def test_the_environments_differ(whole_run: Path) -> None:
    returns = [record["episode_return"] for record in machine_free_records(whole_run) if record["kind"] == "episode"]
    assert set(returns) == {10.5}
    first, second = (started(partial(GymnasiumEnvironment, "third_party:Shows-v0"), seed=seed) for seed in (1, 2))
    assert not np.array_equal(first.observe(), second.observe())
    for each in (first, second):
        each.close()


@pytest.mark.slow
def test_a_run_stopped_on_frames_and_on_latents_goes_on_to_the_same_figures(whole_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    assert stop_in_step(84, "train", *FLAGS, "--out", folder, signal=signal.SIGTERM) == 130
    assert stop_in_step(195, "resume", folder, signal=signal.SIGTERM) == 130
    assert seer("resume", folder) == 0
    assert machine_free_records(folder) == machine_free_records(whole_run)
    assert multiprocessing.active_children() == []


def test_environments_that_cant_be_brought_back_are_cut(tmp_path: Path, capsys: Capture) -> None:
    flags = (*FLAGS, "--env", "third_party:Unrepeatable-v0", "--out", tmp_path / "run")
    assert stop_in_step(195, "train", *flags, signal=signal.SIGTERM) == 130
    assert seer("resume", tmp_path / "run") == 0
    assert "did not go the same way again" in capsys.readouterr().out
    ends = [record["step"] for record in machine_free_records(tmp_path / "run") if record["kind"] == "episode"]
    assert ends == [ENVS * step for step in [*range(7, 64, 7), 72, 79] for _ in range(ENVS)], "65 of their steps, cut"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--steps", 241), "--steps 241 is no multiple of --num-envs 3"),
        (("--num-envs", 0), "--num-envs 0 must be more than 0"),
        (("--num-envs", 1000), "--num-envs 1000 must be 256 or less"),
        (("--replay-capacity", 30), "batch size + n-step of each environment; give at least 33"),
        (("--replay-memory", "100kB", "--replay-capacity", "None"), "--replay-memory 100kB holds 4 frames of each"),
    ],
)
def test_what_cant_be_shared_is_refused(flags: tuple[object, ...], said: str, capsys: Capture) -> None:
    assert seer("train", *FLAGS, *flags) == 2
    assert said in capsys.readouterr().err
