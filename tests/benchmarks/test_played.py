"""Recorded steps, as observations and in a buffer of Stable-Baselines3."""

import gymnasium
import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from played import Step, fill_buffer, stacks

# Two episodes of three and two steps; each frame [1, 4, 4] shows its step's number.
STEPS = [Step(np.full((1, 4, 4), number, np.uint8), number % 2, float(number), number in (2, 4)) for number in range(5)]


def test_an_episodes_first_frame_fills_the_stack() -> None:
    found = [stack[:, 0, 0, 0].tolist() for stack in stacks(STEPS, 3)]
    assert found == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [3, 3, 3], [3, 3, 4]]


def test_a_buffer_is_filled_with_whole_transitions_again_and_again() -> None:
    space = gymnasium.spaces.Box(0, 255, (2, 2, 2), np.uint8)
    buffer = ReplayBuffer(7, space, gymnasium.spaces.Discrete(2), device="cpu")
    fill_buffer(buffer, STEPS, stack=2, view_size=2)
    assert buffer.full
    assert buffer.observations[:, 0, :, 0, 0].tolist() == [[0, 0], [0, 1], [1, 2], [3, 3], [3, 4], [0, 0], [0, 1]]
    assert buffer.next_observations[:4, 0, -1, 0, 0].tolist() == [1, 2, 3, 4]
    assert buffer.rewards[:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert buffer.dones[:, 0].tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert buffer.actions[:, 0, 0].tolist() == [0, 1, 0, 1, 0, 0, 1]
