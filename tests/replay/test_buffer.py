"""The replay beside its slow twin, and small episodes by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seer.errors import SettingError
from seer.replay import Prioritized, RowFormat, Uniform

from .oracle import (
    ENDS,
    EPISODES,
    FIRST_STACKS,
    FRAME,
    SAMPLERS,
    Everything,
    Pair,
    assert_same_batch,
    paint,
    read,
    small_replay,
)


@given(
    ends=ENDS,
    stack=st.integers(1, 5),
    n_step=st.integers(1, 20),
    spare_rows=st.integers(0, 30),
    spare_bytes=st.integers(0, FRAME.num_bytes - 1),
)
def test_agrees_with_episodes_kept_as_lists(
    ends: list[str], stack: int, n_step: int, spare_rows: int, spare_bytes: int
) -> None:
    """After every step: the set of rows that can be drawn, and at times every transition drawn from it."""
    capacity = n_step + stack + 1 + spare_rows
    pair = Pair(sampler=Everything(), stack=stack, n_step=n_step, capacity=capacity, spare_bytes=spare_bytes)
    for step, end in enumerate(ends):
        pair.add(end, FIRST_STACKS[step % 4])
        pair.check_set(drawn=step % 16 == 0 or step == len(ends) - 1)


@SAMPLERS
@pytest.mark.parametrize("n_step", [1, 3, 20])
def test_what_is_sampled_agrees_too(make: Any, n_step: int) -> None:
    pair = Pair(sampler=make(), n_step=n_step, capacity=60)
    for end in EPISODES:
        pair.add(end)
        if pair.fast.num_sampleable:
            pair.check(pair.fast.sample(8))
    seen = {number for _ in range(100) for number in pair.fast.sample(32).index.tolist()}
    assert seen == {row.number for row in pair.slow.sampleable()}


def test_a_terminated_episode_by_hand() -> None:
    replay = small_replay()
    for number, reward in enumerate([1.0, 2.0, 4.0, 8.0, 16.0]):
        replay.append(paint(number), number, reward, terminated=number == 4)
    batch = replay.sample(5)
    assert batch.index.tolist() == [0, 1, 2, 3, 4]
    assert batch.action.tolist() == [0, 1, 2, 3, 4]
    assert batch.reward.tolist() == [3.0, 6.0, 12.0, 16.0, 16.0]  # 1 + 2/2 + 4/4, and so on
    assert batch.discount.tolist() == [0.125, 0.125, 0.0, 0.0, 0.0]
    assert read(batch.now).tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [3, 4]]
    assert read(batch.next[:2]).tolist() == [[2, 3], [3, 4]]
    assert batch.weight.tolist() == [1.0] * 5


def test_a_truncated_episode_by_hand() -> None:
    replay = small_replay()
    for number, reward in enumerate([1.0, 2.0, 4.0]):
        assert replay.num_sampleable == 0  # three steps on, nothing is stored yet
        final = paint(3) if number == 2 else None
        replay.append(paint(number), 0, reward, terminated=False, truncated=number == 2, final_row=final)
    batch = replay.sample(3)
    assert batch.index.tolist() == [0, 1, 2]  # not 3, which closes the episode
    assert batch.reward.tolist() == [3.0, 4.0, 4.0]
    assert batch.discount.tolist() == [0.125, 0.25, 0.5]
    assert read(batch.next).tolist() == [[2, 3]] * 3
    assert replay.size == 4


def test_a_step_both_terminated_and_truncated_is_a_true_end() -> None:
    replay = small_replay(n_step=1)
    replay.append(paint(0), 0, 1.0, terminated=True, truncated=True, final_row=paint(1))
    assert replay.size == 1
    assert replay.sample(1).discount.tolist() == [0.0]


def test_continuous_actions() -> None:
    replay = small_replay(n_step=1, action=RowFormat((3,), torch.float32))
    for number in range(3):
        replay.append(paint(number), np.full(3, number / 4, np.float32), 0.0, terminated=False)
    batch = replay.sample(2)
    assert batch.action.dtype == torch.float32
    assert batch.action.tolist() == [[0.0] * 3, [0.25] * 3]
    with pytest.raises(ValueError, match="action"):
        replay.append(paint(3), 0.5, 0.0, terminated=False)


def test_dtypes_and_shapes_of_a_batch() -> None:
    pair = Pair(sampler=Prioritized(), stack=4)
    pair.add_all(EPISODES)
    batch = pair.fast.sample(32)
    assert batch.now.shape == batch.next.shape == (32, 4, *FRAME.shape)
    assert batch.now.dtype == batch.next.dtype == torch.uint8
    assert batch.action.dtype == torch.int64
    assert batch.reward.dtype == batch.discount.dtype == batch.weight.dtype == torch.float32
    assert batch.action.shape == batch.reward.shape == batch.discount.shape == batch.weight.shape == (32,)
    assert batch.index.dtype == np.int64


def test_priorities_reach_the_rows_they_were_computed_for() -> None:
    """In a ring that has wrapped: the probability of a row is that of the priority given for its id."""
    pair = Pair(sampler=Prioritized(exponent=1.0), capacity=30)
    pair.add_all(EPISODES)
    ids = np.array([row.number for row in pair.slow.sampleable()])
    pair.fast.update_priorities(ids, torch.tensor(ids - ids.min() + 1, dtype=torch.float32))
    share = (ids - ids.min() + 1) / (ids - ids.min() + 1).sum()
    drawn = np.concatenate([pair.fast.sample(100).index for _ in range(200)])
    frequency = np.array([(drawn == number).mean() for number in ids])
    np.testing.assert_allclose(frequency, share, atol=0.01)
    assert frequency.sum() == pytest.approx(1)


def test_weights_correct_for_the_probability() -> None:
    pair = Pair(sampler=Prioritized(exponent=1.0))
    pair.add_all(EPISODES)
    ids = np.array([row.number for row in pair.slow.sampleable()])
    priority = dict(zip(ids.tolist(), np.linspace(1, 9, len(ids)), strict=True))
    pair.fast.update_priorities(ids, np.array(list(priority.values())))
    for exponent in (0.0, 0.4, 1.0):
        batch = pair.fast.sample(16, importance_exponent=exponent)
        weight = np.array([(len(ids) * priority[i] / sum(priority.values())) ** -exponent for i in batch.index])
        np.testing.assert_allclose(batch.weight, weight / weight.max(), rtol=1e-6)


def test_priorities_of_overwritten_rows_are_skipped() -> None:
    pair = Pair(sampler=Prioritized(exponent=1.0), capacity=30)
    pair.add_all(EPISODES[:35])
    old = np.array([row.number for row in pair.slow.sampleable()])
    pair.add_all([""] * 20)
    ids = [row.number for row in pair.slow.sampleable()]
    gone, kept = old[0], old[-1]
    assert gone not in ids
    assert kept in ids
    pair.fast.update_priorities(np.array([gone, kept]), np.array([1e9, len(ids) - 1.0]))
    drawn = np.concatenate([pair.fast.sample(32).index for _ in range(100)])
    assert set(drawn.tolist()) == set(ids)  # with 1e9, whoever lies in its place would drown all others
    assert (drawn == kept).mean() == pytest.approx(0.5, abs=0.02)
    assert pair.fast.num_sampleable == len(ids)


def test_rows_that_are_not_stored_are_not_read() -> None:
    pair = Pair(sampler=Uniform(), capacity=30)
    pair.add_all(EPISODES[:35])
    newest = int(pair.fast.recent(1, span=1)[0])
    whole = [row.number for row in pair.slow.sampleable()]
    assert pair.fast.read(np.array([whole[0], newest])).shape[0] == 2
    for number in (newest - pair.fast.size, newest + 1, 0):
        with pytest.raises(ValueError, match="not all that are to be read"):
            pair.fast.read(np.array([newest, number]))


def test_nothing_to_sample_yet() -> None:
    replay = small_replay(n_step=20, capacity=40)
    for number in range(20):
        replay.append(paint(number), 0, 0.0, terminated=False)
        with pytest.raises(SettingError, match="n_step 20"):
            replay.sample(4)
    replay.append(paint(20), 0, 0.0, terminated=False)
    assert replay.sample(4).index.tolist() == [0]


def test_a_batch_of_nothing_is_refused() -> None:
    replay = small_replay()
    replay.append(paint(0), 0, 1.0, terminated=True)
    with pytest.raises(SettingError, match="batch_size is 0"):
        replay.sample(0)


def test_memory_must_hold_a_window_and_its_stack() -> None:
    with pytest.raises(SettingError, match="replay memory is 400 bytes: n_step 3 and stack 2 need 480"):
        small_replay(capacity=5)
    assert small_replay(capacity=6).capacity == 6


def test_a_truncated_step_needs_its_final_row() -> None:
    replay = small_replay()
    with pytest.raises(ValueError, match="final_row"):
        replay.append(paint(0), 0, 0.0, terminated=False, truncated=True)
    assert replay.size == 0


def test_a_last_observation_that_is_refused_leaves_the_step_out() -> None:
    replay, wrong = small_replay(), paint(1)[0]
    with pytest.raises(ValueError, match="row is"):
        replay.append(paint(0), 0, 0.0, terminated=False, truncated=True, final_row=wrong)
    assert replay.size == 0
    replay.append(paint(0), 0, 0.0, terminated=False)
    with pytest.raises(ValueError, match="row is"):
        replay.close(wrong)
    assert replay.is_open
    replay.append(paint(1), 0, 0.0, terminated=True)
    assert read(replay.sample(4).now).tolist() == [[0, 0], [0, 1]]


def test_bytes_reported_are_bytes_allocated() -> None:
    pair = Pair(sampler=Uniform(), capacity=1000, spare_bytes=7)
    assert pair.fast.num_bytes == pair.memory.bytes.untyped_storage().nbytes() == 80_007
    assert pair.fast.capacity == 1000
    per_row = 8 + 4 + 1 + 1 + 2 * 4  # action, reward, age, end, and the uniform sampler's two int32
    assert pair.fast.index_bytes == 1000 * per_row


def test_rows_before_an_episode_complete_its_first_stacks_and_are_not_drawn() -> None:
    replay = small_replay(n_step=1)
    replay.append(np.stack([paint(7), paint(10)]), 0, 0.0, terminated=False)
    for number in (11, 12):
        replay.append(paint(number), 0, 0.0, terminated=number == 12)
    batch = replay.sample(3)
    assert read(batch.now).tolist() == [[7, 10], [10, 11], [11, 12]]
    assert batch.index.tolist() == [1, 2, 3]


def test_a_closed_episode_is_one_cut_by_a_time_limit() -> None:
    closed, cut = small_replay(), small_replay()
    for replay in (closed, cut):
        replay.append(paint(0), 1, 1.0, terminated=False)
    closed.append(paint(1), 2, 2.0, terminated=False)
    closed.close(paint(9))
    cut.append(paint(1), 2, 2.0, terminated=False, truncated=True, final_row=paint(9))
    assert not closed.is_open
    for replay in (closed, cut):
        replay.append(paint(3), 3, 3.0, terminated=True)
    assert_same_batch(closed.sample(3), cut.sample(3))
    assert read(closed.sample(3).next[:2]).tolist() == [[1, 9], [1, 9]]


def test_a_step_that_jumps_keeps_the_whole_stack_it_leads_to() -> None:
    replay = small_replay()
    replay.append(paint(0), 1, 1.0, terminated=False)
    replay.append(paint(1), 2, 2.0, terminated=False)
    assert replay.num_steps == 2
    replay.close(paint(9), np.stack([paint(7)]))
    replay.append(paint(3), 3, 3.0, terminated=True)
    batch = replay.sample(3)
    assert (replay.size, replay.num_steps) == (5, 3)
    assert batch.index.tolist() == [0, 1, 4]
    assert batch.reward.tolist() == [2.0, 2.0, 3.0]
    assert batch.discount.tolist() == [0.25, 0.5, 0.0]
    assert read(batch.next[:2]).tolist() == [[7, 9], [7, 9]]
    assert read(batch.now).tolist() == [[0, 0], [0, 1], [3, 3]]


def test_what_needs_an_open_episode_says_so() -> None:
    replay = small_replay()
    with pytest.raises(ValueError, match="no episode is open"):
        replay.close(paint(0))
