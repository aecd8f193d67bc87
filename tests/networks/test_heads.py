"""Heads of values: noise, costs, dueling, shared weights."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seer.networks.heads import Noise, NoisyLinear, ValueHead


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Noisy layers ----------------------------------------------------------------------------------------------------


def noisy(inputs: int = 7, outputs: int = 5, sigma: float = 0.3) -> NoisyLinear:
    torch.manual_seed(0)
    return NoisyLinear(inputs, outputs, initial_sigma=sigma)


def noise_of(layer: NoisyLinear, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
    """The noise of weight [outputs, inputs] and bias [outputs], read off the layer's answers."""
    with torch.no_grad():
        bias = layer(torch.zeros(1, layer.in_features), noise)[0]
        weight = (layer(torch.eye(layer.in_features), noise) - bias).T
        return (weight - layer.weight) / layer.weight_sigma, (bias - layer.bias) / layer.bias_sigma


def drawn(layer: NoisyLinear, seed: int = 0) -> Noise:
    """Any noise of the right size."""
    inputs, outputs = torch.randn(layer.in_features + layer.out_features, generator=generator(seed)).split(
        (layer.in_features, layer.out_features)
    )
    return Noise(inputs, outputs)


def test_initial_parameters_are_those_of_the_paper() -> None:
    """Fortunato et al. 2018, section 3.2: means uniform in +-1/sqrt(p), sigmas sigma_0 / sqrt(p).

    The bias's sigma is divided by the root of the outputs instead, a habit of PyTorch implementations.
    """
    layer = noisy(inputs=400, outputs=100, sigma=0.1)
    assert layer.weight.abs().max() <= 1 / 20
    assert layer.weight.detach().std() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.02)
    assert (layer.weight_sigma == torch.tensor(0.1 / 20)).all()
    assert (layer.bias_sigma == torch.tensor(0.1 / 10)).all()


def test_noise_is_factorised() -> None:
    """Weight noise is the outer product of a noise per output, which the bias shares, and one per input: rank 1."""
    layer = noisy()
    weight, bias = noise_of(layer, drawn(layer))
    of_outputs, of_inputs = bias[:, None], weight[:1] / bias[0]
    torch.testing.assert_close(weight, of_outputs * of_inputs, rtol=1e-3, atol=1e-4)
    assert torch.linalg.matrix_rank(weight, atol=1e-3) == 1


def test_noise_has_the_distribution_of_the_paper() -> None:
    """f(x) = sign(x) sqrt|x| of a standard normal: mean 0, variance E|x| = sqrt(2/pi), fourth moment E x^2 = 1."""
    network, source = head(dueling=True, noisy_sigma=0.3, hidden_units=100), generator()
    draws = [torch.cat([torch.cat([n.inputs, n.outputs]) for n in network.draw_noise(source)]) for _ in range(100)]
    noise = torch.stack(draws).double()  # over 40,000 numbers
    assert noise.mean() == pytest.approx(0, abs=0.03)  # five standard errors
    assert noise.square().mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.02)
    assert noise.pow(4).mean() == pytest.approx(1, abs=0.05)
    correlations = torch.corrcoef(torch.stack([noise[:-1].flatten(), noise[1:].flatten()]))
    assert correlations[0, 1] == pytest.approx(0, abs=0.03)  # draws are independent of each other


def test_without_noise_a_layer_uses_the_means() -> None:
    layer = noisy()
    inputs = torch.randn(3, 7, generator=generator(1))
    assert not torch.allclose(layer(inputs, drawn(layer)), inputs @ layer.weight.T + layer.bias)
    torch.testing.assert_close(layer(inputs), inputs @ layer.weight.T + layer.bias)


def test_the_noisy_weight_gives_the_same_answers_and_gradients() -> None:
    """For few inputs the noise goes over the inputs and outputs, for many into the weight: Fortunato et al., eq. 9."""
    inputs, gradients = torch.randn(3, 7, generator=generator(1)), []
    for way in ("inputs", "weight"):
        layer = noisy()
        noise = drawn(layer)
        if way == "inputs":
            outputs = layer(inputs, noise)
        else:
            weight, bias = layer.noisy(noise)
            torch.testing.assert_close(
                weight[2, 3], layer.weight[2, 3] + layer.weight_sigma[2, 3] * noise.outputs[2] * noise.inputs[3]
            )
            outputs = inputs @ weight.T + bias
        outputs.square().sum().backward()
        gradients.append([outputs.detach()] + [parameter.grad for parameter in layer.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_noise_reaches_the_sigmas() -> None:
    layer = noisy()
    noise, inputs = drawn(layer), torch.randn(3, 7, generator=generator(1))
    layer(inputs, noise).sum().backward()
    assert layer.weight_sigma.grad is not None
    assert layer.bias_sigma.grad is not None
    torch.testing.assert_close(layer.bias_sigma.grad, 3 * noise.outputs)
    torch.testing.assert_close(layer.weight_sigma.grad, torch.outer(noise.outputs, noise.inputs * inputs.sum(0)))


# Heads -----------------------------------------------------------------------------------------------------------


def head(*, dueling: bool, noisy_sigma: float | None = None, num_atoms: int = 3, **settings: Any) -> ValueHead:
    torch.manual_seed(0)
    sizes = {"feature_size": 6, "num_actions": 4, "hidden_units": 8} | settings
    return ValueHead(num_atoms=num_atoms, dueling=dueling, noisy_sigma=noisy_sigma, **sizes)


def test_dueling_joins_value_and_advantage() -> None:
    """Wang et al. 2016, eq. 9, atom by atom: outputs = V + A - mean over actions of A, so their mean is V."""
    network = head(dueling=True)
    latent = torch.randn(5, 6, generator=generator())
    outputs = network(latent)
    assert outputs.shape == (5, 4, 3)
    assert network.value is not None
    value, advantage = network.value(latent), network.advantage(latent).view(5, 4, 3)
    torch.testing.assert_close(outputs.mean(1), value)
    for action in range(4):
        torch.testing.assert_close(outputs[:, action], value + advantage[:, action] - advantage.mean(1))


def test_without_dueling_there_is_one_stream() -> None:
    network = head(dueling=False)
    latent = torch.randn(5, 6, generator=generator())
    assert network.value is None
    torch.testing.assert_close(network(latent), network.advantage(latent).view(5, 4, 3))


@pytest.mark.parametrize(("dueling", "multiply_adds"), [(False, 6 * 8 + 8 * 12), (True, 2 * 6 * 8 + 8 * 12 + 8 * 3)])
@pytest.mark.parametrize("noisy_sigma", [None, 0.1])
def test_cost_of_a_head(dueling: bool, multiply_adds: int, noisy_sigma: float | None) -> None:
    """Noise costs element-wise products only, which the paper's accounting leaves out."""
    assert head(dueling=dueling, noisy_sigma=noisy_sigma).multiply_adds() == multiply_adds


def test_every_layer_of_a_noisy_head_is_noisy() -> None:
    network = head(dueling=True, noisy_sigma=0.5)
    assert [type(layer) for layer in network.modules() if isinstance(layer, nn.Linear)] == [NoisyLinear] * 4
    source = generator()
    latent = torch.randn(5, 6, generator=generator(1))
    first, second = network.draw_noise(source), network.draw_noise(source)
    assert not torch.allclose(network(latent, first), network(latent, second))
    assert len({round(float(noise.outputs[0]), 5) for noise in first + second}) == 8  # each has its own


def test_noise_depends_on_its_generator_alone() -> None:
    network = head(dueling=True, noisy_sigma=0.5)
    latent = torch.randn(5, 6, generator=generator(1))
    first = network(latent, network.draw_noise(generator(3)))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(network(latent, network.draw_noise(generator(3))), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(network(latent, network.draw_noise(generator(4))), first)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("noisy_sigma", [None, 0.5])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_shared_weights_give_the_answers_of_the_layers(
    dueling: bool, noisy_sigma: float | None, precision: torch.dtype, tolerance: float
) -> None:
    network = head(dueling=dueling, noisy_sigma=noisy_sigma, precision=precision)
    latent, noises = torch.randn(5, 6, generator=generator(1)), network.draw_noise(generator())
    outputs = network.outputs(latent, network.weights(noises))
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, network(latent, noises), rtol=tolerance, atol=tolerance)


def test_a_plain_head_draws_no_noise() -> None:
    network, source = head(dueling=True), generator()
    before = source.get_state()
    assert network.draw_noise(source) == []
    assert torch.equal(source.get_state(), before)
    assert {type(layer) for layer in network.modules() if isinstance(layer, nn.Linear)} == {nn.Linear}


def test_heads_answer_samples_apart() -> None:
    network = head(dueling=True, noisy_sigma=0.5)
    noises = network.draw_noise(generator())
    latent = torch.randn(5, 6, generator=generator(1))
    outputs = network(latent, noises)
    for sample in range(5):
        np.testing.assert_allclose(
            network(latent[sample : sample + 1], noises)[0].detach(), outputs[sample].detach(), rtol=1e-4, atol=1e-5
        )
