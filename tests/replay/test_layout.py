"""Observations come back as the agent saw them, those that begin an episode too, or are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from gymnasium.wrappers import FrameStackObservation
from numpy.typing import NDArray
from torch import Tensor

import third_party
from seer.errors import SettingError
from seer.replay import Replay, RowFormat
from seer.replay.make import make_replay

STACK = 4


def stacks_of_four() -> Replay:
    return make_replay(num_bytes=200 * 144, frame_shape=(1, 12, 12), stack=STACK, action_space=Discrete(3))


def quarters(frames: Tensor) -> Tensor:
    """Latents [B, 1, 1, 4 S]: the sums of each frame's quarters."""
    return torch.nn.functional.avg_pool2d(frames.flatten(1, 2).float(), 6).reshape(len(frames), 1, 1, -1)


def act(replay: Replay, *, padding_type: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Episodes of seven steps, cut by a time limit; returns every observation, and the ids of their rows."""
    env = FrameStackObservation(third_party.Shows(shape=(12, 12)), STACK, padding_type=padding_type)
    seen, ids = [], []
    before = 0 if str(padding_type) == "reset" else STACK - 1  # rows that complete an episode's first stacks
    for episode in range(3):
        observation, over = env.reset(seed=len(seen))[0][:, None], False
        while not over:
            seen.append(observation)
            ids.append(len(seen) - 1 + (episode + 1) * before)
            following, _, over, _, _ = env.step(0)
            following = following[:, None]
            replay.append(observation, 0, 0.0, terminated=False, truncated=over, final_row=following)
            observation = following
        seen.append(observation)
        ids.append(len(seen) - 1 + (episode + 1) * before)
    return np.stack(seen), np.array(ids)


@pytest.mark.parametrize("padding_type", ["reset", "zero", np.full((12, 12), 9, np.uint8)])
def test_stacks_and_latents_are_of_what_the_agent_acted_on(padding_type: Any) -> None:
    """Padded in each of Gymnasium's ways."""
    replay = stacks_of_four()
    seen, ids = act(replay, padding_type=padding_type)
    assert np.array_equal(replay.read(ids), seen)
    batch = replay.sample(200)
    assert np.array_equal(batch.now, seen[np.searchsorted(ids, batch.index)])
    assert np.isin(batch.index, ids).all()
    replay.transcode(quarters, RowFormat((1, 1, 4 * STACK), torch.float32))
    assert torch.equal(replay.read(ids), quarters(torch.from_numpy(seen)))


def test_an_episode_that_begins_in_the_middle_is_stored_as_seen() -> None:
    """As after a lost life where nothing is reset."""
    replay = stacks_of_four()
    observation = np.arange(1, 5, dtype=np.uint8)[:, None, None, None].repeat(12, -1).repeat(12, -2)
    replay.append(observation, 0, 0.0, terminated=True)
    assert np.array_equal(replay.sample(1).now[0], observation)
    assert replay.size == STACK
    for _ in range(2):
        replay.append(observation + 1, 0, 0.0, terminated=True)
    assert (replay.size, replay.num_steps) == (3 * STACK, 3)


def test_nothing_is_stored_of_a_first_stack_that_is_refused() -> None:
    replay, observation = stacks_of_four(), stack_of(9)
    wrong: Any
    for wrong in ({"row": observation.astype(np.float32)}, {"action": 7}, {"reward": np.nan}):
        with pytest.raises(ValueError, match="is"):
            replay.append(**{"row": observation, "action": 0, "reward": 0.0, "terminated": False} | wrong)
    assert replay.size == 0


def stack_of(step: int, *, order: int = 1, every: int = 1) -> NDArray[np.uint8]:
    """The stack at a step of an episode whose frames show their numbers; its first frame precedes it."""
    numbers = [max(0, every * (step - back)) for back in reversed(range(STACK))][::order]
    return np.stack([np.full((1, 12, 12), number, np.uint8) for number in numbers])


@pytest.mark.parametrize("wrong", [{"order": -1}, {"every": 2}])
def test_stacks_that_sampling_would_not_give_back_are_refused(wrong: dict[str, int]) -> None:
    """Newest frame first; frames left out between stacks' steps."""
    replay = stacks_of_four()
    for step in range(2):
        replay.append(stack_of(step), 0, 0.0, terminated=False)
    with pytest.raises(SettingError, match="isn't the last one shifted by one frame, oldest first"):
        replay.append(stack_of(2, **wrong), 0, 0.0, terminated=False)
    assert replay.size == 2


def test_an_end_that_was_not_told_is_refused() -> None:
    replay = stacks_of_four()
    for step in range(6):
        replay.append(stack_of(step), 0, 0.0, terminated=False)
    with pytest.raises(SettingError, match=r"say so by terminated or truncated, or call the replay's close\(\)"):
        replay.append(stack_of(0), 0, 0.0, terminated=False)
    replay.close(stack_of(6))
    replay.append(stack_of(0), 0, 0.0, terminated=False)
    assert replay.size == 8


def test_the_first_observation_of_the_next_episode_is_no_last_one() -> None:
    """As environments give it that start again by themselves."""
    replay = stacks_of_four()
    for step in range(6):
        replay.append(stack_of(step), 0, 0.0, terminated=False)
    with pytest.raises(SettingError, match="isn't the last one shifted by one frame"):
        replay.append(stack_of(6), 0, 0.0, terminated=False, truncated=True, final_row=stack_of(0))
    replay.append(stack_of(6), 0, 0.0, terminated=False, truncated=True, final_row=stack_of(7))
    assert replay.size == 8
