"""`make_replay` refuses settings that can't be."""

from typing import Any

import pytest
import torch
from gymnasium.spaces import Discrete, MultiBinary

from seer.core.rows import RowFormat
from seer.errors import SettingError
from seer.replay.make import make_replay

LATENT = RowFormat((1, 1, 5), torch.float32)


def make(**options: Any) -> None:
    settings = {"num_bytes": 10**5, "frame_shape": (1, 12, 12), "stack": 1, "action_space": Discrete(3)}
    make_replay(**settings | options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_step": 0}, "n_step is 0"),
        ({"stack": 0}, "stack 0"),
        ({"discount": 1.5}, "discount 1.5"),
        ({"num_bytes": "70MB"}, "num_bytes is '70MB': give a whole number"),
        ({"num_bytes": 1e6}, r"num_bytes is 1000000\.0"),
        ({"frame_shape": (84, 84), "stack": 4}, r"frame_shape is \(84, 84\): give \(C, H, W\)"),
        ({"frame_shape": (0, 84, 84)}, "frame_shape is"),
        ({"action_space": MultiBinary(3)}, "must be Discrete or Box"),
        ({"latent": LATENT}, r"frame_shape \(1, 12, 12\) .*: leave both out, or latent"),
        ({"latent": LATENT, "frame_shape": (), "stack": 4}, r"and stack 4 .*: leave both out, or latent"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        make(**options)
