"""What PixelEnvironment does for every simulator, through the painted environment."""

import threading
from concurrent.futures import Future
from typing import Any

import gymnasium
import numpy as np
import pytest

from painted import Episode, PaintedEnvironment, painted_number
from playing import assert_same, play, through_json
from seer.envs.base import Drawing, Info, Pixels


def test_painted_numbers_stacks_ends_and_rewards() -> None:
    environment = PaintedEnvironment(
        episodes=[Episode(2), Episode(3, truncated=True)],
        rewards=[0.0, 1.0, 2.0],
        frame_shape=(1, 3, 2),
        stack=3,
    )
    assert environment.observation_space.shape == (3, 1, 3, 2)
    stacks, rewards, ends, reports = [], [], [], []
    for observation, reward, terminated, truncated, info in play(environment, seed=0, steps=6):
        stacks.append(painted_number(observation).tolist())
        rewards.append(reward)
        ends.append((terminated, truncated))
        reports.append(info.get("episode"))
    assert stacks == [
        *([0, 0, 0], [0, 0, 1], [0, 1, 2]),
        *([3, 3, 3], [3, 3, 4], [3, 4, 5], [4, 5, 6]),
        *([7, 7, 7], [7, 7, 8]),
    ]
    assert rewards == [0, 1, 2, 0, 1, 2, 0, 0, 2]
    assert [place for place, (terminated, _) in enumerate(ends) if terminated] == [2]
    assert [place for place, (_, truncated) in enumerate(ends) if truncated] == [6]
    assert reports[2] == {"return": 3.0, "length": 2}
    assert reports[6] == {"return": 3.0, "length": 3}
    assert reports.count(None) == 7


def test_painted_numbers_go_beyond_one_byte() -> None:
    environment = PaintedEnvironment(episodes=[Episode(1000)])
    record = play(environment, seed=0, steps=700)
    observations = np.stack([observation for observation, *_ in record])
    assert observations.shape == (701, 4, 1, 84, 84)
    assert painted_number(observations[:, -1]).tolist() == list(range(701))


def test_a_step_without_reset_is_refused() -> None:
    environment = PaintedEnvironment(episodes=[Episode(1)])
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step(0)
    environment.reset()
    environment.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step(0)


@pytest.mark.parametrize("steps", range(8))
def test_a_restored_painted_environment_goes_on(steps: int) -> None:
    original, restored = PaintedEnvironment(), PaintedEnvironment()
    play(original, seed=0, steps=steps)
    play(restored, seed=0, steps=3)
    restored.load_state_dict(through_json(original.state_dict()))
    assert_same(play(original, seed=1, steps=20), play(restored, seed=1, steps=20))


class DrawnLater(PaintedEnvironment):
    """Hands out promises of its frames; `finish` keeps the newest."""

    def _advance(self, action: Any) -> tuple[Drawing, float, bool, bool, Info]:
        self.frame, *rest = super()._advance(action)
        self.promise: Future[Pixels] = Future()
        return self.promise, *rest

    def finish(self) -> None:
        self.promise.set_result(self.frame)


def test_a_step_needn_t_wait_for_its_picture() -> None:
    later, at_once = DrawnLater(), PaintedEnvironment()
    later.reset()
    at_once.reset()
    reward, terminated, truncated, _ = later.advance(0)  # returns though nothing is drawn
    threading.Timer(0.05, later.finish).start()
    observation = later.observe()  # waits
    expected = at_once.step(0)
    assert np.array_equal(observation, expected[0])
    assert (reward, terminated, truncated) == expected[1:4]
    assert np.array_equal(later.observe(), observation)


def test_the_simulator_stays_as_it_is_while_it_is_drawn() -> None:
    environment = DrawnLater()
    environment.reset()
    environment.advance(0)
    waiting = threading.Thread(target=environment.advance, args=(0,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    assert environment._steps == 1
    environment.finish()
    waiting.join(5)
    assert environment._steps == 2
