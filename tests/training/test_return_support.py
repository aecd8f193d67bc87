"""Returns beyond the support of Rainbow's values: told once, by what was seen."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from painted_run import finish, make_training
from seer.core.freeze_rules import FreezeAt
from seer.presets import preset
from seer.runs.folder import read_metrics
from seer.training.build import build_return_support
from seer.training.replan import prolong
from seer.training.return_support import LONGEST, NEWEST, ReturnSupport
from seer.training.state import TrainingState


def slow_returns(rewards: list[float], discount: float) -> list[float]:
    return [sum(discount**k * r for k, r in enumerate(rewards[t:])) for t in range(len(rewards))]


def test_returns_are_those_of_each_step_of_each_environment() -> None:
    rng = np.random.default_rng(0)
    support, expected = ReturnSupport(-1, 1, discount=0.9, num_envs=2), []
    for _ in range(20):
        episodes = [rng.normal(size=rng.integers(1, 9)).tolist() for _ in range(2)]
        for step in range(max(map(len, episodes))):
            for env, episode in enumerate(episodes):
                if step < len(episode):
                    support.add(env, episode[step], over=step == len(episode) - 1)
        expected += [each for episode in episodes for each in slow_returns(episode, 0.9)]
    found = support.metrics()
    assert found["discounted_return_min"] == pytest.approx(min(expected))
    assert found["discounted_return_max"] == pytest.approx(max(expected))
    assert found["outside_support"] == pytest.approx(np.mean(np.abs(expected) > 1))


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        (
            [11, 15.5, 20],
            r"100% of the last 102 discounted returns, 11 to 20, .*begin anew with --max-return 20 or more$",
        ),
        ([0, -23.4], r"50% of the last 100 .*, -23.4 to 0, .*begin anew with --min-return -24 or less$"),
        ([-40, 1250], r"--min-return -40 or less and --max-return 1300 or more$"),
        ([0.5, -0.171], None),
        ([10, -10], None),
        ([11] + [0] * 30, None),  # 3%
        ([12, 12], r"returns, all 12, lie outside.*--max-return 12 or more$"),
    ],
)
def test_returns_outside_are_told_once_with_the_setting_that_holds_them(rewards: list[float], said: str | None) -> None:
    support, lines = ReturnSupport(-10, 10, discount=0.0), []
    for step in range(400):
        support.add(0, rewards[step % len(rewards)], over=step % len(rewards) == len(rewards) - 1)
        lines.append(support.warning())
    told = [line for line in lines if line is not None]
    assert len(told) == (said is not None)
    assert said is None or re.search(said, told[0])


def test_an_episode_without_end_is_looked_at() -> None:
    support = ReturnSupport(-10, 10, discount=0.99)
    for _ in range(LONGEST):
        support.add(0, 1.0, over=False)
    assert support.metrics()["discounted_return_max"] == pytest.approx(100, abs=1e-3)
    line = support.warning()
    assert line is not None
    assert "--max-return 100 or more" in line


def test_only_the_newest_returns_count_and_a_state_goes_on() -> None:
    support, other = (ReturnSupport(-10, 10, discount=0.5) for _ in range(2))
    for reward, steps in ((100.0, 500), (1.0, NEWEST)):
        for _ in range(steps):
            support.add(0, reward, over=True)
    assert support.metrics()["outside_support"] == 0
    support.add(0, 3.0, over=False)
    other.load_state_dict(support.state_dict())
    for each in (support, other):
        each.add(0, 8.0, over=True)
    assert other.metrics() == support.metrics()
    assert support.metrics()["discounted_return_max"] == 8


def test_rainbow_alone_is_watched_with_its_own_ends() -> None:
    config = preset("ALE/Pong-v5")
    support = build_return_support(dataclasses.replace(config, num_envs=2))
    assert support is not None
    assert (support.minimum, support.maximum, support.discount, len(support._rewards)) == (-10, 10, 0.99, 2)
    for env, agent in (("ALE/Pong-v5", "dqn"), ("dm_control/walker-walk-v0", "curl")):
        assert build_return_support(preset(env, agent)) is None


def test_a_run_says_it_once_and_records_it(tmp_path: Path) -> None:
    """Rewards rise from 0 to 4, discounted by a half: to twice that; stopped and resumed after the warning."""

    def make() -> TrainingState:
        run = make_training(FreezeAt(None))
        run.return_support = ReturnSupport(-3, 3, discount=0.5)
        return run

    _, said = finish(make, tmp_path / "run", stop_at=330)
    assert said.count("lie outside the -3 to 3 that the agent's values can be") == 1
    logged = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "train"]
    shares = [record["outside_support"] for record in logged]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] > 0.3
    assert logged[-1]["discounted_return_max"] > 6


def test_an_episode_that_is_given_up_has_no_returns() -> None:
    """As where a finished run is prolonged without its replay: the next episode's rewards are none of its own."""
    run = make_training(FreezeAt(None))
    run.return_support = ReturnSupport(-10, 10, discount=1.0)
    run.return_support.add(0, 1000.0, over=False)
    assert prolong(run, steps_before=0).replay == "empty"
    run.return_support.add(0, 2.0, over=True)
    assert run.return_support.metrics()["discounted_return_max"] == 2
