"""Encoders and heads: sizes, costs, pixels, noise."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seer.core.encoder import FreezableEncoder
from seer.errors import SettingError
from seer.networks.convolutions import CANONICAL, DATA_EFFICIENT, Convolution, convolution_stages
from seer.networks.encoders import CONVOLUTIONS, assemble
from seer.networks.heads import Noise, NoisyLinear, ValueHead
from seer.networks.pixels import gather_squares, nested_squares
from seer.networks.pooling import Pooling

ATARI_FRAME = (1, 84, 84)


def plain_encoder(stack: int, frame_shape: tuple[int, int, int], layers: tuple[Convolution, ...]) -> FreezableEncoder:
    return assemble(convolution_stages(frame_shape, stack=stack, layers=layers))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Encoders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "multiply_adds"),
    [
        ("data-efficient", 576, 819_200 + 460_800),
        # 32x20x20 outputs of 4x8x8 inputs each, 64x9x9 of 32x4x4, 64x7x7 of 64x3x3
        ("canonical", 3136, 12_800 * 256 + 5184 * 512 + 3136 * 576),
    ],
)
def test_atari_encoders_have_the_papers_sizes(name: str, size: int, multiply_adds: int) -> None:
    encoder = plain_encoder(stack=4, frame_shape=ATARI_FRAME, layers=CONVOLUTIONS[name])
    frames = torch.zeros(2, 4, *ATARI_FRAME, dtype=torch.uint8)
    (latent,) = encoder(encoder.pixels(frames))
    assert latent.shape == (2, size)
    assert latent.dtype == torch.float32
    assert encoder.output_size == size
    assert encoder.multiply_adds() == (multiply_adds, 0)


def test_the_data_efficient_encoder_costs_1_280_000() -> None:
    encoder = plain_encoder(stack=4, frame_shape=ATARI_FRAME, layers=DATA_EFFICIENT)
    assert encoder.multiply_adds() == (1_280_000, 0)


@pytest.mark.parametrize("frame_shape", [(3, 84, 100), (1, 42, 42), (3, 37, 30)])
@pytest.mark.parametrize("stack", [1, 3])
def test_sizes_of_other_images(frame_shape: tuple[int, int, int], stack: int) -> None:
    """Colour, other stacks, height unlike width: the size that it says is the size that comes out."""
    encoder = plain_encoder(stack=stack, frame_shape=frame_shape, layers=DATA_EFFICIENT)
    frames = torch.zeros(2, stack, *frame_shape, dtype=torch.uint8)
    (latent,) = encoder(encoder.pixels(frames))
    assert latent.shape == (2, encoder.output_size)


@pytest.mark.parametrize("side", [1, 4, 7])
def test_pooling_averages_the_last_maps(side: int) -> None:
    """Against means taken position by position: bin i of 7 places in n covers floor(7i/n) to ceil(7(i+1)/n)."""
    stages = convolution_stages(ATARI_FRAME, stack=1, layers=CANONICAL)
    pooled = assemble([*stages, Pooling((64, 7, 7), side)])
    frames = torch.randint(0, 256, (2, 1, *ATARI_FRAME), dtype=torch.uint8, generator=generator())
    (latent,) = pooled(pooled.pixels(frames))
    (wide,) = assemble(stages)(pooled.pixels(frames))
    maps, edges = wide.view(2, 64, 7, 7), [(7 * i // side, -(-7 * (i + 1) // side)) for i in range(side)]
    means = [maps[:, :, top:bottom, left:right].mean((2, 3)) for top, bottom in edges for left, right in edges]
    torch.testing.assert_close(latent, torch.stack(means, dim=2).flatten(1))
    assert pooled.output_size == latent.shape[1] == 64 * side**2
    assert pooled.multiply_adds() == assemble(stages).multiply_adds()


def test_encoding_is_convolutions_and_relu() -> None:
    """Against nn.Sequential in plain memory order, on frames whose channels and rows all differ."""
    torch.manual_seed(0)
    encoder = plain_encoder(stack=3, frame_shape=(2, 40, 45), layers=DATA_EFFICIENT)
    frames = torch.randint(0, 256, (5, 3, 2, 40, 45), dtype=torch.uint8, generator=generator())
    plain = nn.Sequential()
    for stage in encoder.stages:
        convolution = nn.Conv2d(stage.in_channels, stage.out_channels, stage.kernel_size, stage.stride)
        convolution.load_state_dict(stage.state_dict())
        plain.extend([convolution, nn.ReLU()])
    expected = plain(frames.float().div(255).reshape(5, 6, 40, 45)).flatten(1)
    (latent,) = encoder(encoder.pixels(frames))
    torch.testing.assert_close(latent, expected, rtol=1e-5, atol=1e-6)
    assert 0.1 < (latent > 0).float().mean() < 0.9


def test_pixels_are_frames_as_channels_between_0_and_1() -> None:
    encoder = plain_encoder(stack=4, frame_shape=(2, 30, 35), layers=DATA_EFFICIENT)
    frames = torch.randint(0, 256, (3, 4, 2, 30, 35), dtype=torch.uint8, generator=generator())
    frames[0, 0, 0, 0, :2] = torch.tensor([0, 255])
    pixels = encoder.pixels(frames)
    assert pixels.shape == (3, 8, 30, 35)
    assert pixels.dtype == torch.float32
    assert pixels[0, 0, 0, :2].tolist() == [0.0, 1.0]
    torch.testing.assert_close(pixels, (frames.double() / 255).float().reshape(3, 8, 30, 35))


@pytest.mark.parametrize(
    ("layers", "frame_shape"),
    [(DATA_EFFICIENT, (1, 24, 84)), (DATA_EFFICIENT, (1, 84, 24)), (CANONICAL, (1, 20, 20)), (CANONICAL, (1, 4, 4))],
)
def test_an_image_too_small_is_refused(layers: tuple[Convolution, ...], frame_shape: tuple[int, int, int]) -> None:
    with pytest.raises(SettingError, match=r"--encoder: \d+ pixels are too few for its \dx\d convolution"):
        plain_encoder(stack=4, frame_shape=frame_shape, layers=layers)


def test_the_smallest_image_is_not_refused() -> None:
    assert plain_encoder(stack=4, frame_shape=(1, 25, 29), layers=DATA_EFFICIENT).output_size == 64


@pytest.mark.parametrize("stack", [3, 4])
def test_pixels_are_the_frames_over_255(stack: int) -> None:
    """Four frames are packed by arithmetic, other stacks are copied: the same numbers, channels-last."""
    encoder = plain_encoder(stack, ATARI_FRAME, DATA_EFFICIENT)
    frames = torch.randint(256, (5, stack, *ATARI_FRAME), dtype=torch.uint8, generator=generator())
    pixels = encoder.pixels(frames)
    torch.testing.assert_close(pixels, frames[:, :, 0].double().div(255).float(), rtol=1e-6, atol=0)
    assert pixels.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("stack", [3, 4])
@pytest.mark.parametrize("sides", [(84, 84), (50, 79), (30, 61)])
@pytest.mark.parametrize("frozen", [1, 2])
def test_products_on_patches_give_the_convolutions(stack: int, sides: tuple[int, int], frozen: int) -> None:
    """The same latents, stored numbers and gradients, whether four frames are packed or not, with and without a rim."""
    torch.manual_seed(0)
    stages = convolution_stages((1, *sides), stack=stack, layers=DATA_EFFICIENT)
    direct = assemble(stages, frozen_stages=frozen)
    patches = assemble(stages, frozen_stages=frozen, convolution="patches")
    frames = torch.randint(256, (5, stack, 1, *sides), dtype=torch.uint8, generator=generator())
    pixels, squares = direct.inputs(frames), patches.inputs(frames)
    assert (pixels.ndim, squares.ndim) == (4, 4 + frozen)
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(patches.encode(squares), direct.encode(pixels), **close)
    torch.testing.assert_close(patches.encode(patches.pixels(frames)), direct.encode(pixels), rtol=0, atol=0)
    (wanted,), (got,) = direct(pixels), patches(squares)
    torch.testing.assert_close(got, wanted, **close)
    parameters = list(direct.parameters())
    wanted, got = (torch.autograd.grad(latent.square().sum(), parameters) for latent in (wanted, got))
    scale = max(float(gradient.abs().max()) for gradient in wanted)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("channels", [3, 4])
def test_squares_of_no_observation(channels: int) -> None:
    order = nested_squares(84, 84, [5, 5])
    squares = gather_squares(torch.zeros(0, channels, 84, 84, dtype=torch.uint8), order, 5)
    assert squares.shape == (0, 225, 25 * channels)


def test_squares_within_squares() -> None:
    """A picture of 5 x 8 pixels, by hand: 2 outputs, of 4 squares each, of 4 pixels each; the last row is left out."""
    order = nested_squares(5, 8, [2, 2]).view(2, 4, 4).tolist()  # outputs above, of each its squares, their pixels
    assert order[0] == [[0, 1, 8, 9], [2, 3, 10, 11], [16, 17, 24, 25], [18, 19, 26, 27]]
    assert order[1] == [[4, 5, 12, 13], [6, 7, 14, 15], [20, 21, 28, 29], [22, 23, 30, 31]]


def test_kernels_that_overlap_stay_convolutions() -> None:
    encoder = assemble(convolution_stages(ATARI_FRAME, stack=4, layers=CANONICAL), convolution="patches")
    frames = torch.zeros(1, 4, *ATARI_FRAME, dtype=torch.uint8)
    assert encoder.inputs(frames).shape == encoder.pixels(frames).shape


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
    sizes = {"latent_size": 6, "num_actions": 4, "hidden_units": 8} | settings
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
