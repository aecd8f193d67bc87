import numpy as np
import pytest

from seer.errors import SettingError
from seer.replay import Prioritized, Sampler, Uniform

NOTHING = np.empty(0, np.int64)


def empty(sampler: Sampler, capacity: int) -> Sampler:
    sampler.rearrange(NOTHING, capacity)
    return sampler


def draws(sampler: Sampler, batches: int = 2000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([sampler.sample(32, rng)[0] for _ in range(batches)])


def probabilities(sampler: Sampler, capacity: int) -> np.ndarray:
    """The probability that `sample` reports for each place, from draws that reach all of them."""
    rng, found = np.random.default_rng(1), np.zeros(capacity)
    for _ in range(500):
        places, probability = sampler.sample(32, rng)
        found[places] = probability
    return found


def assert_frequencies(drawn: np.ndarray, expected: np.ndarray) -> None:
    """Chi-square over all places; five standard deviations of the statistic above its mean is a failure."""
    counts = np.bincount(drawn, minlength=len(expected))
    assert len(counts) == len(expected)
    assert (counts[expected == 0] == 0).all()
    expected_counts = expected[expected > 0] * len(drawn)
    freedom = len(expected_counts) - 1
    chi_square = ((counts[expected > 0] - expected_counts) ** 2 / expected_counts).sum()
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("make", [Uniform, Prioritized])
def test_places_come_and_go(make: type[Uniform] | type[Prioritized]) -> None:
    sampler, rng, plain = empty(make(), 300), np.random.default_rng(0), set[int]()
    for _ in range(300):
        entering = [int(p) for p in np.unique(rng.integers(300, size=4)) if p not in plain]
        sampler.enable(entering)
        plain.update(entering)
        leaving = [int(p) for p in np.unique(rng.integers(300, size=4))]  # many of them aren't there
        sampler.disable(leaving)
        plain.difference_update(leaving)
        assert sampler.num_sampleable == len(plain)
        if plain:
            assert set(sampler.sample(64, rng)[0].tolist()) <= plain
    assert set(draws(sampler).tolist()) == plain


@pytest.mark.parametrize("make", [Uniform, lambda: Prioritized(exponent=0.0)])
def test_uniform_frequencies(make: type[Uniform]) -> None:
    sampler = empty(make(), 100)
    sampler.enable(range(100))
    sampler.disable(range(20, 40))
    sampler.enable([30])
    if isinstance(sampler, Prioritized):
        sampler.update(np.arange(10), np.linspace(0.1, 7, 10))
    expected = np.full(100, 1 / 81)
    expected[20:40] = 0
    expected[30] = 1 / 81
    assert_frequencies(draws(sampler), expected)
    np.testing.assert_allclose(probabilities(sampler, 100), expected)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_prioritized_frequencies(exponent: float) -> None:
    sampler, rng = empty(Prioritized(exponent), 200), np.random.default_rng(3)
    sampler.enable(range(150))
    priority = rng.exponential(size=150) + 0.05
    sampler.update(np.arange(150), priority)
    sampler.disable([0, 7, 149])
    expected = np.zeros(200)
    expected[:150] = priority**exponent
    expected[[0, 7, 149]] = 0
    expected /= expected.sum()
    assert_frequencies(draws(sampler), expected)
    np.testing.assert_allclose(probabilities(sampler, 200), expected)


def test_a_prioritized_batch_is_stratified() -> None:
    sampler = empty(Prioritized(exponent=1.0), 64)
    sampler.enable(range(64))
    places, _ = sampler.sample(32, np.random.default_rng(0))
    assert (places // 2).tolist() == list(range(32))  # one from each 32nd of the total


def test_a_new_place_gets_the_largest_priority_seen() -> None:
    sampler = empty(Prioritized(exponent=1.0), 10)
    sampler.enable([0, 1])
    np.testing.assert_allclose(probabilities(sampler, 10)[:2], 0.5)
    sampler.update(np.array([0]), np.array([6.0]))
    sampler.update(np.array([0]), np.array([3.0]))  # the largest seen stays 6
    sampler.enable([2])
    np.testing.assert_allclose(probabilities(sampler, 10)[:3], [0.3, 0.1, 0.6])


def test_a_small_priority_does_not_lower_that_of_new_places() -> None:
    sampler = empty(Prioritized(exponent=1.0), 10)
    sampler.enable([0])
    sampler.update(np.array([0]), np.array([0.25]))
    sampler.enable([1])
    np.testing.assert_allclose(probabilities(sampler, 10)[:2], [0.2, 0.8])


def test_priority_zero_stays_sampleable() -> None:
    sampler = empty(Prioritized(), 10)
    sampler.enable([4])
    sampler.update(np.array([4]), np.array([0.0]))
    assert sampler.num_sampleable == 1
    assert set(draws(sampler, batches=2).tolist()) == {4}


def test_a_place_that_left_is_not_revived_by_its_priority() -> None:
    sampler = empty(Prioritized(exponent=1.0), 10)
    sampler.enable([4, 5])
    sampler.disable([4])
    sampler.update(np.array([4, 5, 9]), np.array([100.0, 2.0, 100.0]))
    assert sampler.num_sampleable == 1
    assert set(draws(sampler, batches=20).tolist()) == {5}
    sampler.enable([6])
    np.testing.assert_allclose(probabilities(sampler, 10)[5:7], 0.5)  # largest seen: 2, not 100


@pytest.mark.parametrize("priority", [-0.1, np.nan, np.inf])
def test_impossible_priorities_are_refused(priority: float) -> None:
    sampler = empty(Prioritized(), 10)
    sampler.enable([0, 1])
    with pytest.raises(ValueError, match="finite and not negative"):
        sampler.update(np.array([0, 1]), np.array([1.0, priority]))
    np.testing.assert_allclose(probabilities(sampler, 10)[:2], 0.5)


def test_a_negative_exponent_is_refused() -> None:
    with pytest.raises(SettingError, match="priority exponent"):
        Prioritized(exponent=-1)


@pytest.mark.parametrize("make", [Uniform, Prioritized])
def test_rearranging_takes_places_along(make: type[Uniform] | type[Prioritized]) -> None:
    sampler = empty(make(), 8)
    sampler.enable([0, 1, 2, 5, 6, 7])
    sampler.update(np.arange(8), np.arange(1.0, 9.0))
    before = probabilities(sampler, 8)
    sources = np.array([5, 6, 7, 0, 1, 2, 3])  # place 4 is dropped, it wasn't sampleable
    sampler.rearrange(sources, 200)
    assert sampler.num_sampleable == 6
    np.testing.assert_allclose(probabilities(sampler, 200), [*before[sources], *[0] * 193])
    sampler.enable([199])
    assert 199 in draws(sampler, batches=100)


@pytest.mark.parametrize("make", [Uniform, Prioritized])
def test_a_loaded_sampler_draws_the_same(make: type[Uniform] | type[Prioritized]) -> None:
    sampler, rng = empty(make(), 500), np.random.default_rng(0)
    sampler.enable(rng.permutation(400)[:250].tolist())
    sampler.disable(range(50))
    sampler.update(np.arange(0, 400, 3), rng.random(134) * 5)
    other = make()
    other.load_state_dict(sampler.state_dict(), 500)
    for changed in (sampler, other):
        changed.disable(range(40, 60))
        changed.enable([450])
    assert sampler.num_sampleable == other.num_sampleable
    assert np.array_equal(draws(sampler, 50), draws(other, 50))
    assert np.array_equal(probabilities(sampler, 500), probabilities(other, 500))
