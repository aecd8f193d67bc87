"""Losses against obvious loops: the projection of C51, its cross-entropy, and the Huber error of DQN."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from seer.agents.losses import CategoricalValue, ScalarValue, project_distribution

MINIMUM, MAXIMUM = -10.0, 10.0
TOLERANCE = 2e-5  # float32 distances on a grid of up to 20 / 0.4 = 50 spacings


def project_slowly(
    probabilities: list[float], reward: float, discount: float, support: list[float]
) -> NDArray[np.float64]:
    """Bellemare et al. 2017, algorithm 1, one atom at a time, in double precision."""
    spacing = support[1] - support[0]
    result = np.zeros(len(support))
    for probability, atom in zip(probabilities, support, strict=True):
        moved = min(max(reward + discount * atom, support[0]), support[-1])
        position = min(max((moved - support[0]) / spacing, 0.0), len(support) - 1.0)
        lower, upper = math.floor(position), math.ceil(position)
        if lower == upper:
            result[lower] += probability
        else:
            result[lower] += probability * (upper - position)
            result[upper] += probability * (position - lower)
    return result


def normalised(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


def spread(num_atoms: int) -> list[float]:
    return np.linspace(MINIMUM, MAXIMUM, num_atoms).tolist()


def project(probabilities: list[float], reward: float, discount: float, support: list[float]) -> NDArray[np.float64]:
    result = project_distribution(
        torch.tensor([probabilities]), torch.tensor([reward]), torch.tensor([discount]), torch.tensor(support)
    )
    assert result.shape == (1, len(support))
    return result[0].double().numpy()


WEIGHTS = st.integers(2, 51).flatmap(
    lambda atoms: st.lists(st.floats(0.0, 1.0, width=32), min_size=atoms, max_size=atoms).filter(
        lambda weights: sum(weights) > 0.01
    )
)
REWARDS = st.one_of(st.floats(-30, 30, width=32), st.integers(-25, 25).map(float))  # past both ends; on the grid
DISCOUNTS = st.one_of(st.just(0.0), st.just(1.0), st.just(0.99**20), st.floats(0, 1, width=32))


@given(weights=WEIGHTS, reward=REWARDS, discount=DISCOUNTS)
def test_projection_agrees_with_the_loop(weights: list[float], reward: float, discount: float) -> None:
    probabilities, support = normalised(weights), spread(len(weights))
    projected = project(probabilities, reward, discount, support)
    np.testing.assert_allclose(projected, project_slowly(probabilities, reward, discount, support), atol=TOLERANCE)


@given(weights=WEIGHTS, reward=REWARDS, discount=DISCOUNTS)
def test_projection_conserves_mass(weights: list[float], reward: float, discount: float) -> None:
    projected = project(normalised(weights), reward, discount, spread(len(weights)))
    assert (projected >= 0).all()
    assert projected.sum() == pytest.approx(1, abs=TOLERANCE)


@given(weights=WEIGHTS, share=st.floats(-1, 1), discount=DISCOUNTS)
def test_projection_preserves_the_mean_where_nothing_is_clamped(
    weights: list[float], share: float, discount: float
) -> None:
    probabilities, support = normalised(weights), spread(len(weights))
    reward = share * (1 - discount) * MAXIMUM  # reward + discount * atom stays between the ends
    mean = reward + discount * np.dot(probabilities, support)
    projected = project(probabilities, reward, discount, support)
    assert np.dot(projected, support) == pytest.approx(mean, abs=20 * TOLERANCE)


def test_examples_that_can_be_checked_by_eye() -> None:
    support = [-1.0, 0.0, 1.0]
    certain_zero = [0.0, 1.0, 0.0]
    np.testing.assert_allclose(project(certain_zero, 1.0, 0.5, support), [0, 0, 1])  # on an atom
    np.testing.assert_allclose(project(certain_zero, 0.25, 0.5, support), [0, 0.75, 0.25])  # between two
    np.testing.assert_allclose(project(certain_zero, 7.0, 0.5, support), [0, 0, 1])  # past the upper end
    np.testing.assert_allclose(project(certain_zero, -7.0, 0.5, support), [1, 0, 0])  # past the lower end
    np.testing.assert_allclose(project([0.5, 0.0, 0.5], 0.5, 0.0, support), [0, 0.5, 0.5])  # a true end
    np.testing.assert_allclose(project([0.5, 0.0, 0.5], 0.0, 0.5, support), [0.25, 0.5, 0.25])


def test_samples_of_a_batch_are_projected_apart() -> None:
    rng = np.random.default_rng(0)
    support = spread(51)
    probabilities = rng.dirichlet(np.ones(51), size=8)
    reward, discount = rng.normal(0, 8, size=8), rng.uniform(size=8)
    batch = project_distribution(*(torch.tensor(part).float() for part in (probabilities, reward, discount, support)))
    for row, *sample in zip(batch, probabilities, reward, discount, strict=True):
        np.testing.assert_allclose(row.numpy(), project_slowly(*sample, support), atol=TOLERANCE)


def test_categorical_values_are_means_of_their_distributions() -> None:
    value = CategoricalValue(num_atoms=3, minimum=-1, maximum=1)
    logits = torch.log(torch.tensor([[[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]], [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]]))
    torch.testing.assert_close(value.expected(logits), torch.tensor([[0.3, 0.0], [-0.6, 0.7]]))


@given(seed=st.integers(0, 10_000), reward=REWARDS, discount=DISCOUNTS)
def test_cross_entropy_agrees_with_the_loop(seed: int, reward: float, discount: float) -> None:
    value = CategoricalValue(num_atoms=51, minimum=MINIMUM, maximum=MAXIMUM)
    rng = np.random.default_rng(seed)
    logits, next_logits = rng.normal(0, 3, size=(2, 51)).astype(np.float32)
    error = value.error(
        torch.from_numpy(logits)[None], torch.from_numpy(next_logits)[None], torch.tensor([reward]),
        torch.tensor([discount]),
    )  # fmt: skip
    now, following = (np.exp(part.astype(float)) / np.exp(part.astype(float)).sum() for part in (logits, next_logits))
    target = project_slowly(following.tolist(), reward, discount, spread(51))
    expected = -sum(share * math.log(probability) for share, probability in zip(target, now, strict=True))
    assert error.shape == (1,)
    assert error.item() == pytest.approx(expected, rel=1e-4)


def test_categorical_gradient_is_that_of_cross_entropy_and_only_to_the_outputs() -> None:
    """d(cross-entropy)/d(logits) = softmax - target: zero, and the error the entropy, where they agree."""
    value = CategoricalValue(num_atoms=51, minimum=MINIMUM, maximum=MAXIMUM)
    generator = torch.Generator().manual_seed(0)
    outputs, next_outputs = (torch.randn(4, 51, generator=generator, requires_grad=True) for _ in range(2))
    reward, discount = torch.tensor([0.3, -4.0, 12.0, 0.0]), torch.tensor([0.9, 0.8, 0.0, 1.0])
    value.error(outputs, next_outputs, reward, discount).sum().backward()
    target = project_distribution(next_outputs.detach().softmax(-1), reward, discount, value.support)
    assert outputs.grad is not None
    torch.testing.assert_close(outputs.grad, outputs.detach().softmax(-1) - target)
    assert next_outputs.grad is None


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) <= 1 else abs(difference) - 0.5


@given(
    output=st.floats(-20, 20, width=32),
    following=st.floats(-20, 20, width=32),
    reward=st.floats(-3, 3, width=32),
    discount=DISCOUNTS,
)
def test_huber_agrees_with_its_definition(output: float, following: float, reward: float, discount: float) -> None:
    error = ScalarValue().error(
        torch.tensor([[output]]), torch.tensor([[following]]), torch.tensor([reward]), torch.tensor([discount])
    )
    assert error.shape == (1,)
    assert error.item() == pytest.approx(huber(output - (reward + discount * following)), rel=1e-4, abs=1e-5)


def test_huber_gradient_is_clipped_and_only_to_the_outputs() -> None:
    outputs = torch.tensor([[0.0], [0.0], [0.0]], requires_grad=True)
    following = torch.tensor([[8.0], [0.5], [8.0]], requires_grad=True)
    error = ScalarValue().error(outputs, following, torch.tensor([0.0, 0.0, 0.25]), torch.tensor([1.0, 0.5, 0.0]))
    error.sum().backward()
    assert outputs.grad is not None
    torch.testing.assert_close(outputs.grad, torch.tensor([[-1.0], [-0.25], [-0.25]]))
    assert following.grad is None


def test_priorities_are_distances_to_the_target() -> None:
    """Of scalar values |TD error|, not its Huber loss, which is half its square near 0; of distributions the loss."""
    outputs, zero = torch.tensor([[0.01], [0.1], [1.0], [-3.0]]), torch.zeros(4)
    value = ScalarValue()
    error = value.error(outputs, torch.zeros(4, 1), zero, zero)
    torch.testing.assert_close(value.priority(error), outputs[:, 0].abs())
    assert torch.equal(CategoricalValue(num_atoms=3, minimum=-1, maximum=1).priority(error), error)


def test_scalar_values_are_the_outputs() -> None:
    torch.testing.assert_close(
        ScalarValue().expected(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    )
