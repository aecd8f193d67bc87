"""The rows that the ring keeps, and the observations read from it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seer.replay import RowFormat

from .oracle import ENDS, EPISODES, FIRST_STACKS, FRAME, Encoder, Everything, Pair, small_replay


@pytest.mark.parametrize(
    "row",
    [
        np.zeros((1, *FRAME.shape[1:]), np.uint8),  # would broadcast
        np.zeros(FRAME.shape, np.float32),  # would be cast
        torch.zeros(FRAME.shape),
    ],
)
def test_a_wrong_row_is_refused(row: Any) -> None:
    replay = small_replay()
    with pytest.raises(ValueError, match="row is"):
        replay.append(row, 0, 0.0, terminated=False)
    assert replay.size == 0


@given(
    ends=ENDS, stack=st.integers(1, 5), spare_rows=st.integers(0, 30), count=st.integers(1, 40), span=st.integers(1, 99)
)
def test_recent_observations_are_whole_and_as_episodes_say(
    *, ends: list[str], stack: int, spare_rows: int, count: int, span: int
) -> None:
    """After every step: the newest ones, evenly spaced, none with part of its stack overwritten."""
    pair = Pair(sampler=Everything(), stack=stack, n_step=1, capacity=stack + 2 + spare_rows)
    for step, end in enumerate(ends):
        pair.add(end, FIRST_STACKS[step % 4])
        stored = pair.slow.stored()
        ids = pair.fast.recent(count, span=span).tolist()
        lost = 0 if len(pair.slow.rows) == len(stored) else stack - 1
        within = [row.number for row in stored][lost:][-span:]
        assert len(ids) == min(count, len(within))
        assert set(ids) <= set(within)
        assert ids == sorted(ids)
        assert not ids or ids[-1] == within[-1] or count == 1
        gaps = np.diff(ids)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
        if ids:
            observations = pair.fast.read(np.array(ids))
            for observation, number in zip(observations, ids, strict=True):
                pair.check_observation(observation, pair.slow.rows[number])


def test_ids_outlive_the_conversion_to_latents() -> None:
    pair = Pair(sampler=Everything(), capacity=25)
    pair.add_all(EPISODES)
    ids = pair.fast.recent(9, span=20)
    encode = Encoder(crops=2, encoders=1, latent=3, stack=3)
    expected = encode(pair.fast.read(ids))
    pair.transcode(encode)
    assert torch.equal(pair.fast.read(ids), expected)
    assert pair.fast.recent(9, span=20).tolist() == ids.tolist()


def test_latents_that_are_not_finite_are_refused() -> None:
    replay = small_replay()
    replay.transcode(lambda frames: torch.zeros(len(frames), 1, 1, 4), RowFormat((1, 1, 4), torch.float32))
    with pytest.raises(ValueError, match="row has numbers that aren't finite"):
        replay.append(torch.tensor([0, 0, torch.inf, 0]).view(1, 1, 4), 0, 0.0, terminated=False)
    assert replay.size == 0
