"""SVCCA, CKA, dormant units and rank against other ways of computing them, and against cases worked out by hand."""

import numpy as np
import pytest
import torch

from seer.core.similarity import Covariances, dormant_share, effective_rank, linear_cka, num_directions, svcca


def both(left: np.ndarray, right: np.ndarray, chunks: int = 1) -> tuple[float, float]:
    covariances = Covariances()
    for one, other in zip(np.array_split(left, chunks), np.array_split(right, chunks), strict=True):
        covariances.add(torch.from_numpy(one), torch.from_numpy(other))
    return svcca(covariances), linear_cka(covariances)


def slow_svcca(left: np.ndarray, right: np.ndarray) -> float:
    """By decomposing the samples themselves, with no covariance anywhere (Raghu et al. 2017, section 2)."""
    bases = []
    for samples in (left, right):
        vectors, values, _ = np.linalg.svd(samples - samples.mean(0), full_matrices=False)
        share = np.cumsum(values**2) / np.sum(values**2)
        kept = next(k for k in range(1, len(values) + 1) if share[k - 1] >= 0.99)
        bases.append(np.linalg.qr(vectors[:, :kept] * values[:kept])[0])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean())


def slow_cka(left: np.ndarray, right: np.ndarray) -> float:
    """From the samples' Gram matrices and the centring matrix (Kornblith et al. 2019, eq. 1-3: HSIC)."""
    count = len(left)
    centre = np.eye(count) - 1 / count
    grams = [samples @ samples.T for samples in (left, right)]

    def hsic(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.trace(one @ centre @ other @ centre))

    return hsic(*grams) / np.sqrt(hsic(grams[0], grams[0]) * hsic(grams[1], grams[1]))


def layers(samples: int, left: int, right: int, *, shared: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two layers that share some signals, of unequal strength, under noise; with means far from 0."""
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(samples, shared))
    one, other = (
        signals @ rng.normal(size=(shared, units))
        + 0.3 * rng.normal(size=(samples, units)) * np.linspace(0.1, 2, units)
        for units in (left, right)
    )
    return one + 5, other - 40


@pytest.mark.parametrize(
    ("samples", "left", "right"), [(400, 8, 8), (400, 12, 5), (30, 20, 25), (10, 40, 64)],
    ids=["even", "uneven", "about as many samples as units", "few samples against many units"],
)  # fmt: skip
def test_agrees_with_independent_computations(samples: int, left: int, right: int) -> None:
    one, other = layers(samples, left, right)
    found = both(one, other)
    np.testing.assert_allclose(found, (slow_svcca(one, other), slow_cka(one, other)), rtol=1e-7)
    np.testing.assert_allclose(both(one, other, chunks=7), found, rtol=1e-9)


def test_a_layer_is_like_itself() -> None:
    one, _ = layers(200, 10, 10)
    np.testing.assert_allclose(both(one, one), (1, 1))


def test_rotation_scale_and_shift_change_nothing() -> None:
    one, other = layers(200, 10, 7)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0]
    np.testing.assert_allclose(both(one, 17 * other @ rotation - 3), both(one, other), rtol=1e-9)
    np.testing.assert_allclose(both(one, 1e-3 * one), (1, 1))


def test_one_unit_by_hand() -> None:
    """For one unit each, SVCCA is the correlation's size and CKA its square: here -1/2 and 1/4."""
    one = np.array([[1.0], [0], [-1], [0], [0], [0]])
    other = np.array([[-1.0], [0], [0], [0], [1], [0]])
    np.testing.assert_allclose(both(one, other), (0.5, 0.25))


def test_two_units_by_hand() -> None:
    """One unit of two, all of one strength, is shared: half of the directions, half of the similarity."""
    shared, own, others = np.eye(4)[:, 1:].T @ np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    np.testing.assert_allclose(both(np.stack([shared, own], 1), np.stack([others, shared], 1)), (0.5, 0.5))


def test_unlike_layers_are_told_apart_given_enough_samples() -> None:
    rng = np.random.default_rng(2)
    similarities = both(rng.normal(size=(20_000, 6)), rng.normal(size=(20_000, 6)))
    assert max(similarities) < 0.03


def test_with_few_samples_svcca_always_finds_likeness() -> None:
    """Why samples are counted: unrelated layers of 50 units seen on 20 samples correlate perfectly."""
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(20, 50)), rng.normal(size=(20, 50))
    found = both(one, other)
    np.testing.assert_allclose(found[0], 1, rtol=1e-6)
    assert 0.1 < found[1] < 0.9
    covariances = Covariances()
    covariances.add(torch.from_numpy(one), torch.from_numpy(other))
    assert covariances.count < num_directions(covariances) <= 38


def test_directions_without_variance_count_for_nothing() -> None:
    """99 % of the variance: a unit of a thousandth of it is left out, and may be as unlike as it wants."""
    rng = np.random.default_rng(4)
    shared, one, other = rng.normal(size=(3, 5000, 1))
    np.testing.assert_allclose(
        both(np.hstack([shared, 0.03 * one]), np.hstack([shared, 0.03 * other]))[0], 1, atol=1e-3
    )


def test_dead_units_count_for_nothing() -> None:
    """Most hidden units of a trained head may be dead; with hundreds LAPACK's eigenvalues may not converge (seed 1)."""
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        where = torch.randperm(1024, generator=draw)[:132]
        signals = torch.randn(400, 20, generator=draw).double()
        left, right = (torch.relu(signals @ torch.randn(20, 132, generator=draw).double() - 1) for _ in range(2))
        wide = torch.zeros(2, 400, 1024, dtype=torch.float64)
        wide[0][:, where], wide[1][:, where] = left, right
        np.testing.assert_allclose(both(*wide.numpy()), both(left.numpy(), right.numpy()), rtol=1e-9)


def test_a_layer_that_always_says_the_same_is_like_nothing() -> None:
    one, other = layers(50, 4, 4)
    assert np.isnan(both(one, np.ones_like(other))).all()


def test_large_means_cost_no_digits() -> None:
    one, other = layers(300, 5, 5)
    np.testing.assert_allclose(both(one + 1e6, other - 1e6, chunks=3), both(one, other), rtol=1e-6)


def test_dormant_units_by_hand() -> None:
    """Mean sizes 4, 0.1, 0 and 0: the layer's mean is 1.025, and 0.025 of it is 0.0256."""
    activations = torch.tensor([[4.0, 0.2, 0, 0], [-4.0, 0, 0, 0]])
    assert dormant_share(activations) == 0.5
    assert dormant_share(activations, threshold=0.1) == 0.75
    assert dormant_share(torch.zeros(3, 4)) == 1
    assert dormant_share(torch.ones(3, 4)) == 0


def test_effective_rank_by_hand() -> None:
    """Singular values 90, 9.5 and 0.5: two of them sum to 99.5 % of all, one to 90 %."""
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.normal(size=(n, 3)))[0] for n in (20, 6))
    activations = torch.from_numpy(left * [90, 9.5, 0.5] @ right.T)
    assert effective_rank(activations) == 2
    assert effective_rank(activations, kept=0.9) == 1
    assert effective_rank(activations, kept=0.999) == 3
    assert effective_rank(torch.zeros(4, 4)) == 0
