"""Policy, critics, similarity and their initial weights against independent computations."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from seer.agents.curl import info_nce
from seer.networks.actor_critic import LOG_STD_RANGE, Actor, Bilinear, TwinCritic, initialize


def make_actor(action_size: int = 3) -> Actor:
    """In float64, for tolerances that leave no room for a mistake."""
    torch.manual_seed(0)
    return Actor(feature_size=8, action_size=action_size, hidden_units=16, precision=torch.float64).double()


def test_log_probability_is_that_of_the_squashed_gaussian() -> None:
    actor, latent = make_actor(), torch.randn(50, 8, dtype=torch.float64)
    action, log_probability = actor.sample(latent, torch.Generator().manual_seed(1))
    mean, log_std = actor(latent)
    squashed = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform(cache_size=0))
    expected = squashed.log_prob(action).sum(-1)
    torch.testing.assert_close(log_probability, expected, atol=1e-5, rtol=1e-5)


def test_log_probability_of_extreme_actions_is_finite_and_exact() -> None:
    actor = make_actor(action_size=1).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        actor.layers[-1].bias[:] = torch.tensor([20.0, -100.0])  # mean 20, smallest deviation
    action, log_probability = actor.sample(torch.zeros(1, 8, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert action.item() == pytest.approx(1.0)
    # log N(u) is about 9 at most; -log(1 - tanh(u)^2) is about 2 u - log 4.
    assert 40 - math.log(4) - 1 < log_probability.item() < 40 - math.log(4) + 10


def test_log_std_stays_in_its_range() -> None:
    actor = make_actor()
    with torch.no_grad():
        actor.layers[-1].weight.mul_(1e4)
    _, log_std = actor(torch.randn(100, 8, dtype=torch.float64))
    low, high = LOG_STD_RANGE
    assert log_std.min().item() == pytest.approx(low)
    assert log_std.max().item() == pytest.approx(high)


def test_the_two_critics_are_independent() -> None:
    torch.manual_seed(0)
    critic = TwinCritic(feature_size=8, action_size=2, hidden_units=16)
    latent, action = torch.randn(5, 8), torch.randn(5, 2)
    first, second = critic(latent, action)
    inputs = torch.cat([latent, action], -1)
    torch.testing.assert_close(first, critic.first(inputs)[:, 0])
    torch.testing.assert_close(second, critic.second(inputs)[:, 0])
    assert not torch.allclose(first, second)
    assert critic.multiply_adds() == 2 * (10 * 16 + 16 * 16 + 16)


def test_bilinear_similarity_and_info_nce_against_loops() -> None:
    torch.manual_seed(0)
    similarity, queries, keys = Bilinear(4), torch.randn(6, 4), torch.randn(6, 4)
    table, weight = similarity(queries, keys).detach(), similarity.weight.detach()
    loss = 0.0
    for i in range(6):
        row = [float(queries[i] @ weight @ keys[j]) for j in range(6)]
        assert table[i].tolist() == pytest.approx(row, abs=1e-5)
        loss += -math.log(math.exp(row[i]) / sum(math.exp(value) for value in row)) / 6
    assert info_nce(table).item() == pytest.approx(loss, rel=1e-4)


def test_initial_weights_are_orthogonal_and_centred() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(9, 32, 3), nn.Linear(20, 10)).apply(initialize)
    convolution, linear = module
    centre = convolution.weight[:, :, 1, 1]  # [32, 9]: orthogonal columns, scaled for a ReLU
    torch.testing.assert_close(centre.T @ centre, 2 * torch.eye(9), atol=1e-5, rtol=0)
    assert convolution.weight.count_nonzero() == centre.count_nonzero()
    torch.testing.assert_close(linear.weight @ linear.weight.T, torch.eye(10), atol=1e-5, rtol=0)
    assert not convolution.bias.any()
    assert not linear.bias.any()
