"""Actions and rewards come back as they were given, or are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from seer.replay.make import action_format

from .oracle import paint, small_replay

BOX = spaces.Box(-1, 1, (2,), np.float32)
UNEVEN = spaces.Box(np.float32([0, 1]), np.float32([1, 2]))
UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,), np.float32)


FINITE = "its numbers must be finite"


@pytest.mark.parametrize(
    ("space", "action", "said"),
    [
        (spaces.Discrete(3), 7, "action is 7: the action space has 0 to 2"),
        (spaces.Discrete(3), -1, "action is -1: the action space has 0 to 2"),
        (spaces.Discrete(3), 1.7, "action is 1.7: it must be a whole number"),
        (spaces.Discrete(3), np.nan, "action is nan: it must be a whole number"),
        (spaces.Discrete(3, start=5), 0, "action is 0: the action space has 5 to 7"),
        (spaces.Discrete(3), [1], r"action is \(1,\), not \(\)"),
        (BOX, [0, np.nan], FINITE),
        (BOX, [np.inf, 0], FINITE),
        (BOX, np.array([1e39, 0]), FINITE),
        (UNBOUNDED, np.array([1e39, 0]), FINITE),
        (
            BOX,
            [0.5, -2.0],
            r"action is \[0.5, -2.0\]: the action space has \[-1.0, -1.0\] to \[1.0, 1.0\]; give make_rep",
        ),
        (BOX, [1.001, 0.0], "the action space has"),
        (UNEVEN, [0.5, 0.5], r"has \[0.0, 1.0\] to \[1.0, 2.0\]"),
    ],
)
def test_actions_that_would_be_stored_as_others_are_refused(space: Any, action: Any, said: str) -> None:
    replay = small_replay(n_step=1, action=action_format(space))
    with pytest.raises(ValueError, match=said):
        replay.append(paint(0), action, 0.0, terminated=False)
    assert replay.size == 0


@pytest.mark.parametrize(
    ("space", "action", "stored"),
    [
        (spaces.Discrete(3), 2, 2),
        (spaces.Discrete(3), np.int32(1), 1),
        (spaces.Discrete(2), True, 1),
        (spaces.Discrete(3), 2.0, 2),
        (spaces.Discrete(3, start=5), torch.tensor(7), 7),
        (BOX, [0.5, -1.0], [0.5, -1.0]),
        (BOX, np.float32([1 + 2e-7, 0]), [pytest.approx(1, abs=1e-6), 0]),
        (UNEVEN, [0.5, 1.5], [0.5, 1.5]),
        (UNBOUNDED, [3e38, -2.0], [np.float32(3e38), -2.0]),
    ],
)
def test_other_actions_are_stored(space: Any, action: Any, stored: Any) -> None:
    replay = small_replay(n_step=1, action=action_format(space))
    replay.append(paint(0), action, 0.0, terminated=True)
    assert replay.sample(1).action[0].tolist() == stored


@pytest.mark.parametrize("reward", [np.nan, -np.inf, 1e39])
def test_rewards_that_float32_cannot_hold_are_refused(reward: float) -> None:
    replay = small_replay()
    with pytest.raises(ValueError, match=r"reward is .*: it must be a finite number in float32"):
        replay.append(paint(0), 0, reward, terminated=False)
    assert replay.size == 0
