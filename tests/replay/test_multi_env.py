"""The replays of several environments sampled as one, beside a slow twin of each."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from seer.errors import SettingError
from seer.replay import Batch, MultiEnvReplay, Prioritized, Uniform

from .oracle import SAMPLERS, Encoder, Pair, assert_same_batch

LENGTHS = ((5, 9), (3, 4), (17, 2))


def three(make: Any, *, rows: int = 70, n_step: int = 3) -> tuple[list[Pair], MultiEnvReplay]:
    """Replays whose rows bear different numbers: each is 70 rows older than the one before. Ends alternate.

    All are full and have wrapped, but for the first.
    """
    pairs = [Pair(sampler=make(), n_step=n_step, number=each) for each in range(3)]
    replay = MultiEnvReplay([pair.fast for pair in pairs], np.random.default_rng(7))
    for each, (pair, lengths) in enumerate(zip(pairs, LENGTHS, strict=True)):
        while len(pair.slow.rows) < 20 + rows * each:
            for length, end in zip(lengths, ("truncated", "terminated"), strict=True):
                pair.add_all([""] * (length - 1) + [end])
        pair.add_all(["", ""])  # an open episode
    return pairs, replay


def check(pairs: list[Pair], batch: Batch) -> None:
    for each, pair in enumerate(pairs):
        own = batch.index % 3 == each
        parts = {
            field.name: getattr(batch, field.name)[own if field.name == "index" else torch.from_numpy(own)]
            for field in dataclasses.fields(Batch)
        }
        pair.check(Batch(**parts | {"index": parts["index"] // 3}))


def sampleable(pairs: list[Pair]) -> set[int]:
    return {row.number * 3 + each for each, pair in enumerate(pairs) for row in pair.slow.sampleable()}


@SAMPLERS
@pytest.mark.parametrize("n_step", [1, 3])
def test_every_transition_is_one_of_its_own_environment(make: Any, n_step: int) -> None:
    pairs, replay = three(make, n_step=n_step)
    seen: set[int] = set()
    for _ in range(60):
        batch = replay.sample(32)
        check(pairs, batch)
        seen |= set(batch.index.tolist())
    assert seen == sampleable(pairs)
    assert replay.num_sampleable == len(seen)
    assert replay.size == sum(len(pair.slow.stored()) for pair in pairs)


def test_rows_are_drawn_as_from_one_replay_of_all() -> None:
    """Probabilities and weights are those of priorities over the sum of all replays'."""
    pairs, replay = three(lambda: Prioritized(exponent=0.5))
    ids = np.array(sorted(sampleable(pairs)))
    priority = np.random.default_rng(1).uniform(0.1, 9, len(ids))
    replay.update_priorities(ids, priority)
    probability = dict(zip(ids.tolist(), priority**0.5 / (priority**0.5).sum(), strict=True))
    counts = dict.fromkeys(ids.tolist(), 0)
    draws = 1000
    for _ in range(draws):
        batch = replay.sample(32, importance_exponent=0.4)
        drawn = batch.index.tolist()
        weight = np.array([probability[each] for each in drawn]) ** -0.4
        np.testing.assert_allclose(batch.weight, weight / weight.max(), rtol=1e-5)
        for each in drawn:
            counts[each] += 1
    for each, expected in probability.items():
        mean = draws * 32 * expected
        assert abs(counts[each] - mean) < 5 * mean**0.5, "five standard deviations of independent draws"


def test_a_new_row_enters_with_the_largest_priority_of_any_replay() -> None:
    pairs, replay = three(Prioritized)
    first = min(row.number for row in pairs[0].slow.sampleable()) * 3
    replay.update_priorities(np.array([first]), np.array([64.0]))
    before = pairs[2].fast.sampler.mass
    retired = 2  # at most; each of the old rows weighs 1
    pairs[2].add("terminated")
    added = 3 * 8.0  # three rows become sampleable, 64 ** 0.5 each
    assert before + added - 5 * retired <= pairs[2].fast.sampler.mass <= before + added


@SAMPLERS
def test_latents_are_those_of_each_environment(make: Any) -> None:
    pairs, replay = three(make)
    for pair in pairs:
        pair.encode = Encoder(crops=2, encoders=1, latent=2, stack=3)
    encode = pairs[0].encode
    assert encode is not None
    told: list[tuple[int, int]] = []
    before = replay.size
    result = replay.transcode(encode, encode.latent, progress=lambda done, total: told.append((done, total)))
    for pair in pairs:
        pair.slow.transcode(pair.memory.num_bytes // encode.latent.num_bytes)
    assert replay.holds_latents
    assert (result.rows + result.dropped, result.capacity_before) == (before, 120)
    assert result.capacity_after == replay.capacity == 3 * (pairs[0].memory.num_bytes // encode.latent.num_bytes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {before}
    pairs[1].add_all(["", "truncated"])
    for _ in range(50):
        check(pairs, replay.sample(16))


def test_newest_observations_come_from_all_environments() -> None:
    pairs, replay = three(Uniform)
    ids = replay.recent(12, span=24)
    assert len(ids) == 12
    assert set(ids % 3) == {0, 1, 2}
    ids = np.random.default_rng(0).permutation(ids)
    read = replay.read(ids)
    for each, observation in zip(ids.tolist(), read, strict=True):
        pair = pairs[each % 3]
        assert each // 3 >= pair.slow.rows[-1].number - 8
        pair.check_observation(observation, pair.slow.rows[each // 3])


def test_a_saved_state_goes_on_to_the_same_batches() -> None:
    _, replay = three(Prioritized)
    state = copy.deepcopy(replay.state_dict())
    _, restored = three(Prioritized, rows=10)
    restored.load_state_dict(state)
    for _ in range(20):
        one, other = replay.sample(8), restored.sample(8)
        assert_same_batch(one, other)
        priority = np.arange(1.0, 9.0)
        for each in (replay, restored):
            each.update_priorities(one.index, priority)


def test_pieces_of_different_replays_have_different_names() -> None:
    """Even where the same was written to both: a checkpoint takes a piece of a known name from the one before."""
    pairs = [Pair(sampler=Uniform(), number=each) for each in range(2)]
    for pair in pairs:
        pair.add_all([""] * 6)
    replay = MultiEnvReplay([pair.fast for pair in pairs], np.random.default_rng(0))
    names = [piece.name for each in replay.state_dict()["streams"] for piece in each["memory"]]
    assert len(set(names)) == len(names) == 2


def test_nothing_to_sample_is_said() -> None:
    pairs = [Pair(sampler=Uniform(), number=each) for each in range(2)]
    replay = MultiEnvReplay([pair.fast for pair in pairs], np.random.default_rng(0))
    with pytest.raises(SettingError, match="start updates later"):
        replay.sample(4)
    with pytest.raises(SettingError, match="batch_size is 0"):
        replay.sample(0)
    pairs[1].add_all([""] * 6)
    assert set(replay.sample(8).index % 2) == {1}
