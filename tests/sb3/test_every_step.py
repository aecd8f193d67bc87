"""No step is lost: what is in samples, and what is missing from them, beside Stable-Baselines3's own buffer."""

from typing import Any

import numpy as np
import pytest

from seer.integrations.stable_baselines3 import SeerCallback

from .arcade import arcade, model
from .every_step import CASES, HEAD, NUM_ENVS, LastObservations, both_phases, measure, play

SAMPLES = 3000  # of at most 340 steps
STRANGE = [case for case in CASES if case not in ("as it should be", "terminal_observation of one frame")]


@pytest.mark.parametrize("case", CASES)
def test_samples_have_the_ends_rewards_and_steps_of_stable_baselines3(case: str) -> None:
    for found in both_phases(case, steps=85, samples=SAMPLES):
        table = f"\n{HEAD}\n{found.line()}"
        assert found.given == found.held == found.plain_held, table
        assert (found.wrong, found.missing) == (0, 0), table
        assert found.plain_ends > 0, table
        assert found.ends == pytest.approx(found.plain_ends, abs=4 * (found.plain_ends / SAMPLES) ** 0.5), table
        assert found.reward == pytest.approx(found.plain_reward, abs=4 * (found.plain_reward / SAMPLES) ** 0.5), table
        assert (found.jumps > 0) == (case in STRANGE), table


def test_in_a_full_ring_the_newest_steps_are_held_and_counted() -> None:
    """Where steps are stored whole, in more rows, too."""
    learner = play("frames skipped outside", 200, rows=100)
    found = measure(learner, "frames skipped outside", 4000)
    assert found.wrong == 0
    held = 0
    for env in range(NUM_ENVS):
        steps = np.sort(found.sampled[found.sampled % NUM_ENVS == env] // NUM_ENVS)
        newest = found.plain_held // NUM_ENVS - 1  # its next has no row yet
        np.testing.assert_array_equal(steps, np.arange(steps[0], newest))
        held += newest + 1 - steps[0]
    assert held == found.held < found.given == found.plain_held


def test_what_follows_an_end_is_an_image_in_any_case() -> None:
    """Nothing bootstraps from it, but it goes through the network."""
    learner: Any = play("terminal_observation all black", 60)
    batch = learner.replay_buffer.sample(400)
    ended = batch.dones[:, 0] == 1
    assert ended.any()
    assert batch.next_observations[ended].shape[1:] == batch.observations.shape[1:]
    assert (batch.next_observations[ended] == batch.observations[ended]).all()


@pytest.mark.filterwarnings("ignore:VecFrameStack wrapping a VecEnv", "ignore:a step's next observation")
@pytest.mark.parametrize("stack", [1, 4])
def test_a_cut_whose_last_observation_is_missing_is_said(stack: int) -> None:
    whole, lacking = arcade(stack=stack), LastObservations(arcade(stack=stack), lambda _last: None)
    model("DQN", whole).learn(30, callback=SeerCallback(1000, verbose=0))  # warnings are errors
    with pytest.warns(UserWarning, match="cut by a time limit, but its infos have no terminal_observation"):
        model("DQN", lacking).learn(30, callback=SeerCallback(1000, verbose=0))
