"""Statistics against independent computations: by hand, by SciPy, by rliable, and by how intervals must behave."""

import numpy as np
import pytest
import scipy.stats

from seer.envs.registry import normalized
from seer.reporting.statistics import (
    bootstrap,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    score_at,
    spread,
)

THRESHOLDS = np.linspace(-1, 3, 9)


def draw(seed: int, runs: int = 6, tasks: int = 4, shift: float = 0.0) -> list[np.ndarray]:
    """Scores per task, of very different spreads; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    return [np.round(rng.normal(shift + task / 3, 0.2 + task / 2, size=runs), 1) for task in range(tasks)]


def test_mean_and_standard_deviation_as_the_paper_prints_them() -> None:
    three = spread([1.0, 2.0, 6.0])
    assert (three.mean, three.std, three.count) == (3.0, pytest.approx(np.sqrt((4 + 1 + 9) / 2)), 3)
    assert str(spread([1000.0, 1400.0])) == "1,200.0 ± 282.8"
    assert str(spread([7.0])) == "7.0"
    with pytest.raises(ValueError, match="no score"):
        spread([])


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 8])
def test_interquartile_mean_is_a_trimmed_mean(runs: int) -> None:
    scores = draw(runs, runs)
    assert interquartile_mean(scores) == pytest.approx(scipy.stats.trim_mean(np.concatenate(scores), 0.25))


def test_interquartile_mean_of_unequal_numbers_of_seeds_pools_them() -> None:
    scores = [np.array([0.0, 10.0, 1.0]), np.array([2.0, 3.0, 100.0, 4.0, 5.0])]
    assert interquartile_mean(scores) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_performance_profile_counts() -> None:
    scores = [np.array([0.0, 1.0]), np.array([2.0, 2.0])]
    assert performance_profile(scores, np.array([-0.5, 0.0, 1.0, 2.0])).tolist() == [1.0, 0.75, 0.5, 0.0]


def test_probability_of_improvement_counts_pairs() -> None:
    assert probability_of_improvement([np.array([1.0, 3.0])], [np.array([2.0, 3.0])]) == pytest.approx((1 + 0.5) / 4)
    ours, theirs = draw(1, 5), draw(2, 7)
    pairs = [np.mean([(x > y) + (x == y) / 2 for x in xs for y in ys]) for xs, ys in zip(ours, theirs, strict=True)]
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(pairs))
    with pytest.raises(ValueError, match="shorter"):
        probability_of_improvement(ours, theirs[:2])


def test_resamples_stay_in_their_environment() -> None:
    scores = [np.array([1.0, 2.0]), np.array([100.0, 200.0, 300.0])]

    def check(drawn: list[np.ndarray]) -> np.ndarray:
        if drawn[0].ndim == 1:
            return np.array(0.0)
        assert [task.shape for task in drawn] == [(500, 2), (500, 3)]
        assert set(np.unique(drawn[0])) == {1.0, 2.0}
        assert set(np.unique(drawn[1])) == {100.0, 200.0, 300.0}
        # Environments are drawn apart: their resampled means don't move together.
        assert abs(np.corrcoef(drawn[0].mean(1), drawn[1].mean(1))[0, 1]) < 0.15
        return np.zeros(500)

    bootstrap(check, scores, rng=np.random.default_rng(0), resamples=500)


def test_the_same_generator_gives_the_same_interval() -> None:
    first, again, other = (
        bootstrap(interquartile_mean, draw(0), rng=np.random.default_rng(seed), resamples=200) for seed in (1, 1, 2)
    )
    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(200):
        scores = [rng.normal(task, 1.0, size=20) for task in range(3)]
        estimate = bootstrap(lambda drawn: np.mean(drawn, axis=0).mean(-1), scores, rng=rng, resamples=400)
        covered.append(estimate.low <= 1.0 <= estimate.high)
    assert 0.88 <= np.mean(covered) <= 0.98


def test_one_run_per_environment_has_no_width() -> None:
    estimate = bootstrap(interquartile_mean, [np.array([3.0]), np.array([5.0])], rng=np.random.default_rng(0))
    assert (estimate.value, estimate.low, estimate.high) == (4.0, 4.0, 4.0)


def test_score_at_a_budget_lies_between_its_evaluations() -> None:
    run = {"spent": [10.0, 20.0, 40.0], "scores": [0.0, 100.0, 50.0]}
    assert score_at(10, **run) == 0
    assert score_at(13, **run) == pytest.approx(30)
    assert score_at(35, **run) == pytest.approx(62.5)
    assert score_at(40, **run) == 50
    assert score_at(9.9, **run) is None
    assert score_at(40.1, **run) is None
    assert score_at(1, spent=[], scores=[]) is None


def test_normalized_scores() -> None:
    assert normalized("ALE/Alien-v5", 227.8) == 0
    assert normalized("ALE/Qbert-v5", 13455.0) == 1
    assert normalized("dm_control/cartpole-swingup-v0", 500.0) == 0.5
    assert normalized("ALE/Tetris-v5", 1.0) is None


def test_rliable_agrees() -> None:
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    metrics = pytest.importorskip("rliable.metrics")
    ours, theirs = draw(3, shift=0.5), draw(4)
    x, y = np.stack(ours, axis=1), np.stack(theirs, axis=1)  # rliable: [R, tasks]
    assert interquartile_mean(ours) == pytest.approx(metrics.aggregate_iqm(x))
    assert performance_profile(ours, THRESHOLDS) == pytest.approx(library.score_distributions(x, THRESHOLDS))
    # SciPy's statistic U counts wins and half the ties, the same number by another way.
    assert probability_of_improvement(ours, theirs) == pytest.approx(
        np.mean([scipy.stats.mannwhitneyu(a, b).statistic / a.size / b.size for a, b in zip(ours, theirs, strict=True)])
    )
    assert probability_of_improvement(ours, theirs) == pytest.approx(metrics.probability_of_improvement(x, y))
    # rliable draws from NumPy's global generator; enough resamples make both intervals the same to two digits.
    np.random.seed(0)  # noqa: NPY002
    cases = [
        (interquartile_mean, lambda s: np.array([metrics.aggregate_iqm(s)]), [ours], x, 4000),
        (
            lambda s: performance_profile(s, THRESHOLDS),
            lambda s: library.score_distributions(s, THRESHOLDS),
            [ours],
            x,
            2000,
        ),
        (
            probability_of_improvement,
            lambda a, b: np.array([metrics.probability_of_improvement(a, b)]),
            [ours, theirs],
            [x, y],
            300,
        ),
    ]
    for mine, its, groups, data, resamples in cases:
        estimate = bootstrap(mine, *groups, rng=np.random.default_rng(0))
        _, intervals = library.get_interval_estimates({"x": data}, its, reps=resamples)
        low, high = intervals["x"]
        assert np.atleast_1d(estimate.low) == pytest.approx(low, abs=0.05)
        assert np.atleast_1d(estimate.high) == pytest.approx(high, abs=0.05)
