"""Environments that draw from `random` and `numpy.random`: one seed gives one run, interrupted or not."""

import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gymnasium import SHORT

from light_worlds import make_careless
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.envs.randomness import SharedRandomness, seed_shared
from seer.envs.vector import EnvironmentProcess
from tiny_run import machine_free_records, seer, stop_in_step


def make() -> GymnasiumEnvironment:
    seed_shared(1)
    return GymnasiumEnvironment("light_worlds:Careless-v0")


def played(environment: GymnasiumEnvironment, steps: int) -> list[Any]:
    return [environment.step(1)[:2] for _ in range(steps)]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) and r == s for (a, r), (b, s) in zip(one, other, strict=True))


def test_an_environment_s_draws_depend_on_its_seed_alone() -> None:
    """Whatever else draws between two steps; and what else draws doesn't depend on the environment."""
    alone, disturbed = make(), make()
    alone.reset(seed=3)
    disturbed.reset(seed=3)
    expected, found = played(alone, 4), []
    for _ in range(4):
        seed_shared(random.randrange(100))
        state = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        found += played(disturbed, 1)
        assert state == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]  # noqa: NPY002
    assert same(expected, found)
    disturbed.reset(seed=4)
    assert not same(expected, played(disturbed, 4))


def test_a_restored_episode_goes_on_with_the_same_draws() -> None:
    original, restored = make(), make()
    original.reset(seed=8)
    played(original, 3)
    random.random()
    restored.load_state_dict(original.state_dict())
    assert not restored.is_lost
    assert same(played(original, 3), played(restored, 3))


def test_generators_come_back_where_an_environment_fails() -> None:
    shared, seen = SharedRandomness(), np.random.mtrand.get_bit_generator()
    with pytest.raises(ZeroDivisionError), shared.used(0):
        raise ZeroDivisionError
    assert np.random.mtrand.get_bit_generator() is seen


@pytest.mark.filterwarnings("ignore:.*fork")
def test_processes_of_one_seed_play_the_same() -> None:
    shown = []
    for _ in range(2):
        process = EnvironmentProcess(make_careless, time_limit=60, seed=5)
        process.wait()
        process.send(1)
        shown.append((process.observe(), process.receive().reward))
        process.close()
    assert np.array_equal(shown[0][0], shown[1][0])
    assert shown[0][1] == shown[1][1]


def test_one_seed_gives_one_run_interrupted_or_not(tmp_path: Path) -> None:
    """With an evaluation in between, which draws too."""
    flags = ("--env", "light_worlds:Careless-v0", "--steps", 130, "--freeze-at", 90, "--eval-every", 40)
    flags = (*flags, "--first-update", 60, "--n-step", 3, *SHORT)
    assert seer("train", *flags, "--out", tmp_path / "whole") == 0
    assert stop_in_step(73, "train", *flags, "--out", tmp_path / "stopped", signal=signal.SIGTERM) == 130
    random.seed(99)
    assert seer("resume", tmp_path / "stopped") == 0
    assert machine_free_records(tmp_path / "stopped") == machine_free_records(tmp_path / "whole")
