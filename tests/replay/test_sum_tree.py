import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seer.replay.sum_tree import SumTree

SIZES = st.sampled_from([1, 2, 63, 64, 65, 500, 4096, 4097, 20_000])


def running_sum_finds(weights: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The slow twin of `find`: one running sum over the plain array."""
    return np.searchsorted(np.cumsum(weights), mass, side="right")


@given(size=SIZES, rounds=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_agrees_with_a_plain_array(size: int, rounds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree, plain = SumTree(size), np.zeros(size)
    for _ in range(rounds):
        leaves = np.unique(rng.integers(size, size=rng.integers(1, 200)))
        weights = rng.integers(0, 5, size=len(leaves))  # whole numbers: both sums are exact
        weights[0] += 1
        tree.set(leaves, weights)
        plain[leaves] = weights
        assert np.array_equal(tree.leaves, plain)
        assert tree.total == plain.sum()
        mass = rng.random(50) * plain.sum()
        mass[0], mass[1] = 0.0, np.floor(mass[1])  # on the edge between two leaves
        assert np.array_equal(tree.find(mass), running_sum_finds(plain, mass))


def test_four_levels() -> None:
    tree, rng = SumTree(300_000), np.random.default_rng(0)
    plain = rng.integers(0, 3, size=300_000).astype(float)
    tree.set(np.arange(300_000), plain)
    mass = rng.random(1000) * plain.sum()
    assert np.array_equal(tree.find(mass), running_sum_finds(plain, mass))


def test_a_leaf_set_twice_keeps_the_last_weight() -> None:
    tree = SumTree(100)
    tree.set(np.array([3, 70]), 2.0)
    tree.set(np.array([3]), 5.0)
    assert tree.total == 7.0
    assert tree.find(np.array([0.0, 4.9, 5.0, 6.9])).tolist() == [3, 3, 70, 70]


@given(size=SIZES, seed=st.integers(0, 2**32), scale=st.sampled_from([1e-9, 1.0, 1e9]))
def test_a_leaf_without_weight_is_never_found(size: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random(size) * scale * (rng.random(size) < 0.1)
    weights[rng.integers(size)] = scale
    tree = SumTree(size)
    tree.set(np.arange(size), weights)
    mass = np.concatenate([rng.random(100) * tree.total, [0.0, np.nextafter(tree.total, 0), tree.total]])
    assert (weights[tree.find(mass)] > 0).all()


def test_sums_do_not_drift() -> None:
    rng = np.random.default_rng(0)
    tree = SumTree(5000)
    for _ in range(2000):
        tree.set(rng.integers(5000, size=32), 10 ** rng.uniform(-12, 12, size=32))
        assert tree.total > 0
    fresh = SumTree(5000)
    fresh.set(np.arange(5000), tree.leaves)
    assert tree.total == fresh.total  # bit for bit
    mass = rng.random(2000) * tree.total
    assert np.array_equal(tree.find(mass), fresh.find(mass))


@pytest.mark.parametrize("size", [1, 64, 65, 10_000])
def test_reports_the_bytes_of_all_levels(size: int) -> None:
    assert 8 * size <= SumTree(size).num_bytes <= 8 * (size * 1.05 + 3 * 64)
