"""Encoders: sizes, costs, pixels, products on patches, names of weights."""

from typing import Any

import pytest
import torch
from torch import nn

from seer.core.encoder import FreezableEncoder
from seer.errors import SettingError
from seer.networks.convolutions import (
    CANONICAL,
    CONVOLUTIONS,
    DATA_EFFICIENT,
    Convolution,
    ConvStage,
    Pooling,
    chain,
)
from seer.networks.encoders import assemble, encoder_stages
from seer.networks.pixels import gather_squares, nested_squares

ATARI_FRAME = (1, 84, 84)


def plain_encoder(stack: int, frame_shape: tuple[int, int, int], layers: tuple[Convolution, ...]) -> FreezableEncoder:
    return assemble(chain(frame_shape, stack, ConvStage, layers))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    stages = chain(ATARI_FRAME, 1, ConvStage, CANONICAL)
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
    stages = chain((1, *sides), stack, ConvStage, DATA_EFFICIENT)
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
    encoder = assemble(chain(ATARI_FRAME, 4, ConvStage, CANONICAL), convolution="patches")
    frames = torch.zeros(1, 4, *ATARI_FRAME, dtype=torch.uint8)
    assert encoder.inputs(frames).shape == encoder.pixels(frames).shape


@pytest.mark.parametrize(
    ("encoder", "options", "names"),
    [
        ("data-efficient", {}, "0 1"),
        ("canonical", {"pool": 3}, "0 1 2"),
        ("impala", {}, " ".join(f"{s}.{p}" for s in range(3) for p in ("entry", *(f"blocks.{b}" for b in range(4))))),
        ("sac-ae", {"projections": 2, "feature_size": 5}, "0 1 2 3 4.linear.0 4.linear.1 4.norm.0 4.norm.1"),
        (nn.Conv2d(4, 2, 8), {"projections": 1, "feature_size": 5}, "0.module 1.linear.0 1.norm.0"),
    ],
    ids=str,
)
def test_weights_have_the_names_of_saved_runs(encoder: str | nn.Module, options: dict[str, Any], names: str) -> None:
    """Checkpoints of finished runs name weights so; nothing else is saved, patches or not."""
    stages = encoder_stages(encoder, ATARI_FRAME, stack=4, **options)
    for form in ("direct", "patches"):
        found = assemble(stages, convolution=form).state_dict()
        assert list(found) == [f"stages.{name}.{part}" for name in names.split() for part in ("weight", "bias")]


def test_a_number_of_layers_that_is_none_is_refused() -> None:
    stages = chain(ATARI_FRAME, 4, ConvStage, DATA_EFFICIENT)
    for number in (0, 3):
        with pytest.raises(SettingError, match=f"--freeze-layers {number}: the encoder has 2 layers; give 1 to 2"):
            assemble(stages, frozen_stages=number)
