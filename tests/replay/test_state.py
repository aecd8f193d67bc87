"""States of the replay: what is loaded goes on as what was saved would have."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seer.errors import SettingError
from seer.replay import Prioritized, RowFormat, Uniform

from .oracle import EPISODES, FRAME, SAMPLERS, Encoder, Pair, SlowReplay, assert_same_batch


def continue_both(one: Pair, other: Pair) -> None:
    for end in EPISODES[40:100]:
        for pair in (one, other):
            pair.add(end)
        first, second = one.fast.sample(8), other.fast.sample(8)
        assert_same_batch(first, second)
        one.check(first)
        for pair, batch in ((one, first), (other, second)):
            pair.fast.update_priorities(batch.index, np.linspace(0.1, 3, 8))


@SAMPLERS
@pytest.mark.parametrize("latents", [False, True])
@pytest.mark.parametrize("steps", [19, 77])  # in mid-episode; the ring has not, or has, wrapped
def test_a_loaded_replay_continues_identically(make: Any, latents: bool, steps: int) -> None:
    one, other = Pair(sampler=make()), Pair(sampler=make())
    one.add_all(EPISODES[:steps])
    one.fast.update_priorities(one.fast.sample(8).index, np.linspace(0.5, 2, 8))
    if latents:
        one.transcode(Encoder(crops=2, encoders=1, latent=3, stack=3))
        one.add_all(EPISODES[:37])
    assert one.slow.rows[-1].end == ""
    state = copy.deepcopy(one.fast.state_dict())
    other.fast.load_state_dict(state)
    other.slow, other.encode = copy.deepcopy(one.slow), one.encode
    assert other.fast.holds_latents is latents
    assert (other.fast.row, other.fast.size, other.fast.capacity) == (
        one.fast.row,
        one.fast.size,
        one.fast.capacity,
    )
    continue_both(one, other)


@SAMPLERS
@pytest.mark.parametrize("latents", [False, True])
def test_a_cleared_replay_goes_on_as_a_new_one(make: Any, latents: bool) -> None:
    """In mid-episode, full; saved and loaded while it is empty. Ids go on, so that pieces of memory have new names."""
    pairs = used, loaded, new = [Pair(sampler=make()) for _ in range(3)]
    used.add_all(EPISODES[:77])
    encode = Encoder(crops=2, encoders=1, latent=3, stack=3)
    for pair in (used, new) if latents else ():
        pair.fast.transcode(encode, encode.latent)
    names = {piece.name for piece in used.fast.state_dict()["memory"]}
    used.fast.clear()
    replay = used.fast
    assert (replay.size, replay.num_steps, replay.is_open, replay.holds_latents) == (0, 0, False, latents)
    state = copy.deepcopy(used.fast.state_dict())
    assert state["memory"] == []
    loaded.fast.load_state_dict(state)
    new.fast.load_state_dict(new.fast.state_dict() | {"rng": state["rng"]})
    first, count = state["count"], new.fast.state_dict()["count"]
    for pair in pairs:
        pair.slow = SlowReplay(capacity=40, stack=3, n_step=3, discount=0.9)
        pair.encode = encode if latents else None
    for end in EPISODES[:70]:
        for pair in pairs:
            pair.add(end)
        if new.fast.num_sampleable:
            batches = [pair.fast.sample(8) for pair in pairs]
            assert_same_batch(batches[0], batches[1])
            assert_same_batch(dataclasses.replace(batches[0], index=batches[0].index - first + count), batches[2])
    assert names.isdisjoint(piece.name for piece in used.fast.state_dict()["memory"])


def test_a_cleared_replay_keeps_the_range_of_int8() -> None:
    pair = Pair(sampler=Uniform())
    pair.add_all(EPISODES[:30])
    encode = Encoder(crops=2, encoders=1, latent=3, stack=3)
    pair.fast.transcode(encode, RowFormat(encode.latent.shape, torch.int8))
    before = pair.fast.state_dict()["codec"]
    pair.fast.clear()
    after = pair.fast.state_dict()["codec"]
    assert all(torch.equal(before[name], after[name]) for name in ("low", "step"))


def test_frames_loaded_in_mid_episode_can_be_transcoded() -> None:
    one, other = Pair(sampler=Prioritized()), Pair(sampler=Prioritized())
    one.add_all(EPISODES[:77])
    other.fast.load_state_dict(copy.deepcopy(one.fast.state_dict()))
    other.slow = copy.deepcopy(one.slow)
    for pair in (one, other):
        pair.transcode(Encoder(crops=2, encoders=1, latent=3, stack=3))
    continue_both(one, other)


def test_the_state_views_only_the_memory_in_use() -> None:
    pair = Pair(sampler=Uniform(), capacity=40)
    pair.add_all([""] * 10)
    (piece,) = pair.fast.state_dict()["memory"]
    memory = piece.read()
    assert memory.dtype == torch.uint8
    assert memory.shape == (10 * FRAME.num_bytes,)
    assert memory.data_ptr() == pair.memory.bytes.data_ptr()


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"capacity": 41}, "replay memory in bytes is 3280 but the saved replay has 3200"),
        ({"stack": 4}, "stack is 4 but the saved replay has 3"),
        ({"n_step": 5}, "n_step is 5 but the saved replay has 3"),
    ],
)
def test_a_state_of_other_settings_is_refused(changed: dict[str, int], complaint: str) -> None:
    saved = Pair(sampler=Uniform())
    saved.add_all(EPISODES[:20])
    with pytest.raises(SettingError, match=complaint):
        Pair(sampler=Uniform(), **changed).fast.load_state_dict(saved.fast.state_dict())


def test_older_states_that_lack_their_black_frames_are_refused() -> None:
    """They said how first stacks were padded: the first frame repeated, as now, or black ones that weren't stored."""
    saved, other = Pair(sampler=Uniform()), Pair(sampler=Uniform())
    saved.add_all(EPISODES[:20])
    older = saved.fast.state_dict()
    older["settings"]["padding"] = "repeat"
    other.fast.load_state_dict(older)
    older["settings"]["padding"] = "zero"
    with pytest.raises(SettingError, match="made with padding='zero'"):
        other.fast.load_state_dict(older)


@SAMPLERS
@pytest.mark.parametrize("frozen", [False, True])
def test_a_state_is_loaded_as_torch_loads_by_default(make: Any, frozen: bool, tmp_path: Path) -> None:
    """Without `weights_only=False`; in the file a piece takes its own bytes, not those of the whole block."""
    pair, twin = (Pair(sampler=make(), capacity=10_000) for _ in range(2))
    pair.add_all(EPISODES)
    if frozen:
        pair.transcode(Encoder(crops=2, encoders=1, latent=3, stack=3))
    torch.save(pair.fast.state_dict(), tmp_path / "replay")  # noqa: TID251  # what users do
    assert (tmp_path / "replay").stat().st_size < 100_000 + (300_000 if make is Prioritized else 0)
    twin.fast.load_state_dict(torch.load(tmp_path / "replay"))  # noqa: TID251
    assert_same_batch(pair.fast.sample(50), twin.fast.sample(50))


def test_a_state_of_another_sampler_is_refused() -> None:
    pairs = Pair(sampler=Uniform()), Pair(sampler=Prioritized())
    for pair in pairs:
        pair.add_all([""] * 20)
    for one, other in (pairs, pairs[::-1]):
        with pytest.raises(KeyError):
            one.fast.load_state_dict(other.fast.state_dict())
