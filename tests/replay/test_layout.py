"""Observations come back as the agent saw them, or the first of an episode is refused."""

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
WAYS: dict[str, Any] = {"reset": "repeat", "zero": "zero"}  # of Gymnasium, and their names here


def stacks_of_four(padding: Any = "repeat") -> Replay:
    return make_replay(
        num_bytes=200 * 144, frame_shape=(1, 12, 12), stack=STACK, action_space=Discrete(3), padding=padding
    )


def quarters(frames: Tensor) -> Tensor:
    """Latents [B, 1, 1, 4 S]: the sums of each frame's quarters."""
    return torch.nn.functional.avg_pool2d(frames.flatten(1, 2).float(), 6).reshape(len(frames), 1, 1, -1)


def act(replay: Replay, *, padding_type: str) -> NDArray[np.uint8]:
    """Episodes of seven steps, cut by a time limit; returns every observation in the order of the replay's rows."""
    env = FrameStackObservation(third_party.Shows(shape=(12, 12)), STACK, padding_type=padding_type)
    seen = []
    for _ in range(3):
        observation, over = env.reset(seed=len(seen))[0][:, None], False
        while not over:
            seen.append(observation)
            following, _, over, _, _ = env.step(0)
            following = following[:, None]
            replay.append(observation, 0, 0.0, terminated=False, truncated=over, final_row=following)
            observation = following
        seen.append(observation)
    return np.stack(seen)


@pytest.mark.parametrize("padding_type", WAYS)
def test_stacks_and_latents_are_of_what_the_agent_acted_on(padding_type: str) -> None:
    replay = stacks_of_four(WAYS[padding_type])
    seen = act(replay, padding_type=padding_type)
    ids = np.arange(len(seen))
    assert np.array_equal(replay.read(ids), seen)
    batch = replay.sample(200)
    assert np.array_equal(batch.now, seen[batch.index])
    replay.transcode(quarters, RowFormat((1, 1, 4 * STACK), torch.float32))
    assert torch.equal(replay.read(ids), quarters(torch.from_numpy(seen)))


@pytest.mark.parametrize(("padding_type", "other"), [("reset", "zero"), ("zero", "repeat")])
def test_the_other_padding_is_refused_at_the_first_step(padding_type: str, other: str) -> None:
    replay = stacks_of_four(other)
    said = f"padding is '{other}', but an episode's first stack is padded by '{WAYS[padding_type]}': make the replay"
    with pytest.raises(SettingError, match=said):
        act(replay, padding_type=padding_type)
    assert replay.size == 0


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(SettingError, match="padding is 'edge': give one of repeat, zero"):
        stacks_of_four("edge")


def test_an_episode_that_begins_in_the_middle_is_refused_or_primed() -> None:
    """As after a lost life where nothing is reset."""
    replay = stacks_of_four()
    observation = np.arange(1, 5, dtype=np.uint8)[:, None, None, None].repeat(12, -1).repeat(12, -2)
    with pytest.raises(SettingError, match=r"frames that weren't stored: reset the environment .* prime\(\)"):
        replay.append(observation, 0, 0.0, terminated=True)
    replay.prime(observation[:-1])
    replay.append(observation, 0, 0.0, terminated=True)
    assert np.array_equal(replay.sample(1).now[0], observation)


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
