from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seer.replay import MemoryBlock, Prioritized, Replay, RowFormat, Transcoding, Uniform

from .oracle import ENDS, EPISODES, FIRST_STACKS, FRAME, SCALAR_ACTION, Encoder, Everything, Pair


def assert_rows_are_encodings(pair: Pair) -> None:
    """Every surviving row holds `encode` of the frames of its observation, in order of age."""
    assert pair.encode is not None
    survivors = pair.slow.stored()
    latents = pair.memory.rows(pair.encode.latent)
    assert pair.fast.size == len(survivors) > 0
    first = survivors[0].number
    assert [row.number for row in survivors] == list(range(first, first + len(survivors)))
    for place, row in enumerate(survivors):
        assert torch.equal(latents[place], pair.latents(row)), row.number


@settings(max_examples=20)
@given(
    ends=ENDS,
    more=ENDS,
    cut=st.integers(1, 240),
    stack=st.integers(1, 5),
    n_step=st.integers(1, 20),
    spare_rows=st.integers(0, 30),
    crops=st.sampled_from([1, 4]),
    encoders=st.sampled_from([1, 2]),
    latent=st.integers(1, 5),
    chunk_rows=st.integers(1, 50),
)
def test_latents_take_the_place_of_frames(
    *,
    ends: list[str],
    more: list[str],
    cut: int,
    stack: int,
    n_step: int,
    spare_rows: int,
    crops: int,
    encoders: int,
    latent: int,
    chunk_rows: int,
) -> None:
    """Wrapped or not, in the middle of an episode or not, up to latents as large as a frame."""
    encode = Encoder(crops=crops, encoders=encoders, latent=latent, stack=stack)
    if encode.latent.num_bytes > FRAME.num_bytes:
        encode = Encoder(crops=crops, encoders=encoders, latent=20 // (crops * encoders), stack=stack)
    pair = Pair(
        sampler=Everything(),
        stack=stack,
        n_step=n_step,
        capacity=n_step + stack + 1 + spare_rows,
        spare_bytes=9,
    )
    pair.add_all(ends[:cut], begins=FIRST_STACKS)
    address, stored = pair.memory.bytes.data_ptr(), pair.fast.size
    result = pair.transcode(encode, chunk_rows=chunk_rows)
    assert result.rows + result.dropped == stored
    assert pair.memory.bytes.data_ptr() == address
    assert encode.largest_batch <= chunk_rows
    assert_rows_are_encodings(pair)
    pair.check_set()
    for step, end in enumerate(more):
        pair.add(end)
        if step % 8 == 0:
            pair.check_set()
    pair.check_set()


@pytest.mark.parametrize("crops", [1, 4])
@pytest.mark.parametrize("encoders", [1, 2])
@pytest.mark.parametrize("steps", [5, 30, 33, 34, 41, 100])  # rows: fewer than fit, just as many, wrapped
def test_every_number_of_crops_and_encoders(crops: int, encoders: int, steps: int) -> None:
    encode = Encoder(crops=crops, encoders=encoders, latent=2, stack=3)
    pair = Pair(sampler=Everything(), capacity=36)
    pair.add_all(EPISODES[:steps])
    pair.transcode(encode, chunk_rows=7)
    assert_rows_are_encodings(pair)
    assert pair.fast.capacity == 36 * FRAME.num_bytes // encode.latent.num_bytes
    pair.add_all(EPISODES * 3)  # the ring of latents wraps as well
    assert pair.fast.size == pair.fast.capacity or crops * encoders < 4
    pair.check_set()


def test_rows_that_lost_their_stack_are_dropped() -> None:
    pair = Pair(sampler=Everything(), stack=5, capacity=30)
    pair.add_all([""] * 50)
    result = pair.transcode(Encoder(crops=1, encoders=1, latent=2, stack=5))
    assert result == Transcoding(
        converted=True,
        rows=26,
        dropped=4,
        capacity_before=30,
        capacity_after=300,
        row_bytes_before=80,
        row_bytes_after=8,
    )
    assert pair.fast.holds_latents


def atari_sized(sampler: Any) -> Replay:
    return Replay(
        memory=MemoryBlock(3000 * 7056),
        frame=RowFormat((1, 84, 84), torch.uint8),
        stack=4,
        action=SCALAR_ACTION,
        n_step=20,
        discount=0.99,
        sampler=sampler,
        rng=np.random.default_rng(0),
    )


def test_the_papers_sizes() -> None:
    """3000 Atari frames make room for floor(3000 * 7056 / 2304) latents of 576 float32, in place."""
    replay = atari_sized(Uniform())
    for _ in range(30):
        replay.append(np.zeros((1, 84, 84), np.uint8), 0, 0.0, terminated=False)
    memory = replay.state_dict()["memory"][0].read()
    result = replay.transcode(lambda frames: torch.ones(len(frames), 1, 1, 576), RowFormat((1, 1, 576), torch.float32))
    assert (result.capacity_before, result.capacity_after) == (3000, 9187)
    assert (result.row_bytes_before, result.row_bytes_after) == (7056, 2304)
    assert replay.capacity == 9187
    assert replay.num_bytes == 3000 * 7056
    assert replay.state_dict()["memory"][0].read().data_ptr() == memory.data_ptr()
    assert replay.sample(4).now.shape == (4, 1, 576)


def test_a_replay_never_shrinks() -> None:
    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES)
    before = pair.memory.bytes.clone()
    encode = Encoder(crops=1, encoders=1, latent=21, stack=3)  # 84 bytes; a frame has 80
    result = pair.transcode(encode)
    assert result == Transcoding(
        converted=False,
        rows=0,
        dropped=0,
        capacity_before=40,
        capacity_after=40,
        row_bytes_before=80,
        row_bytes_after=80,
    )
    assert encode.largest_batch == 0
    assert torch.equal(pair.memory.bytes, before)
    assert not pair.fast.holds_latents
    assert pair.fast.row == FRAME
    pair.check_set()
    pair.add_all(EPISODES)
    pair.check_set()


def test_a_latent_row_as_large_as_a_frame_is_converted() -> None:
    pair = Pair(sampler=Everything(), stack=5)
    pair.add_all(EPISODES)
    assert pair.transcode(Encoder(crops=1, encoders=1, latent=20, stack=5), chunk_rows=2).converted
    assert pair.fast.capacity == 40
    assert_rows_are_encodings(pair)


def test_priorities_survive() -> None:
    """Drawn as often after as before, in a ring that has wrapped; a new row then gets the largest seen."""
    pair = Pair(sampler=Prioritized(exponent=1.0), capacity=30)
    pair.add_all(EPISODES[:80])
    ids = np.array([row.number for row in pair.slow.sampleable()])
    pair.fast.update_priorities(ids, np.arange(1.0, len(ids) + 1))
    pair.transcode(Encoder(crops=1, encoders=1, latent=2, stack=3))
    share = np.arange(1.0, len(ids) + 1)
    share /= share.sum()
    drawn = np.concatenate([pair.fast.sample(100).index for _ in range(200)])
    frequency = np.array([(drawn == number).mean() for number in ids])
    np.testing.assert_allclose(frequency, share, atol=0.01)
    assert frequency.sum() == pytest.approx(1)
    pair.add_all(["", "", "", "terminated"])
    entered = {row.number for row in pair.slow.sampleable()} - set(ids.tolist())
    drawn = np.concatenate([pair.fast.sample(100).index for _ in range(200)])
    total = len(ids) * (len(ids) + 1) / 2 + len(entered) * len(ids)
    for number in entered:
        assert (drawn == number).mean() == pytest.approx(len(ids) / total, abs=0.01)


def test_crops_are_drawn_evenly_and_apart_for_now_and_next() -> None:
    pair = Pair(sampler=Uniform())
    pair.add_all([""] * 20)
    pair.transcode(Encoder(crops=4, encoders=1, latent=2, stack=3))
    counts = np.zeros((4, 4))
    for _ in range(40):
        batch = pair.fast.sample(50)
        for b, number in enumerate(batch.index.tolist()):
            row = pair.slow.rows[number]
            following = pair.slow.transition(row)[2]
            assert following is not None
            now = (pair.latents(row) == batch.now[b]).all(dim=(1, 2)).nonzero().item()
            after = (pair.latents(following) == batch.next[b]).all(dim=(1, 2)).nonzero().item()
            counts[int(now), int(after)] += 1
    expected = counts.sum() / 16
    assert ((counts - expected) ** 2 / expected).sum() < 15 + 5 * np.sqrt(2 * 15)


def test_progress_counts_up_to_all_rows() -> None:
    pair = Pair(sampler=Everything(), stack=3, capacity=30)
    pair.add_all([""] * 40)
    seen: list[tuple[int, int]] = []
    pair.transcode(
        Encoder(crops=1, encoders=1, latent=2, stack=3),
        chunk_rows=12,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(12, 28), (24, 28), (28, 28)]


@pytest.mark.parametrize(
    "encode",
    [
        lambda frames: torch.zeros(len(frames), 1, 1, 2),  # one crop would broadcast to all
        lambda frames: torch.zeros(len(frames), 4, 1, 2, dtype=torch.float64),
        lambda frames: torch.zeros(1, 4, 1, 2),
    ],
)
def test_a_wrong_encode_is_refused(encode: Any) -> None:
    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES)
    with pytest.raises(ValueError, match="encode returned"):
        pair.fast.transcode(encode, RowFormat((4, 1, 2), torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8])
def test_latents_that_are_no_numbers_are_not_stored(dtype: torch.dtype) -> None:
    """One in a replay would be drawn sooner or later, behind a checkpoint that has it too."""

    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES)
    newest = pair.slow.stored()[-1].number

    def encode(frames: torch.Tensor) -> torch.Tensor:
        spread = frames.flatten(1).float().amax(1) - newest
        return (spread / spread).view(-1, 1, 1, 1).repeat(1, 4, 1, 2)  # of one row 0 / 0

    with pytest.raises(ValueError, match="aren't finite for stored frames"):
        pair.fast.transcode(encode, RowFormat((4, 1, 2), dtype))


def test_latents_are_not_transcoded_again() -> None:
    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES)
    encode = Encoder(crops=1, encoders=1, latent=2, stack=3)
    pair.transcode(encode)
    with pytest.raises(ValueError, match="already"):
        pair.fast.transcode(encode, encode.latent)


def test_an_empty_replay_can_be_transcoded() -> None:
    pair = Pair(sampler=Everything())
    encode = Encoder(crops=1, encoders=1, latent=2, stack=3)
    result = pair.fast.transcode(encode, encode.latent)
    assert (result.converted, result.rows, result.dropped) == (True, 0, 0)
    assert pair.fast.capacity == 400


def test_encode_is_called_without_gradients() -> None:
    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES)
    enabled: list[bool] = []

    def encode(frames: torch.Tensor) -> torch.Tensor:
        enabled.append(torch.is_grad_enabled())
        return torch.zeros(len(frames), 1, 1, 2)

    pair.fast.transcode(encode, RowFormat((1, 1, 2), torch.float32), chunk_rows=30)
    assert enabled == [False, False]
    assert torch.is_grad_enabled()
