"""Normalisation of vectors, and the way of latents through stages of several cameras."""

import numpy as np
import pytest
import torch
from torch import nn

from seer.core.sensors import LARGEST, RunningNormalization, Sensed, SensorStage


def test_normalised_numbers_are_those_of_mean_and_deviation_of_all_that_was_added() -> None:
    rng, norm = np.random.default_rng(0), RunningNormalization(3)
    data = rng.normal([0, 1e4, -5], [1e-3, 50, 0], (500, 3)).astype(np.float32)
    for chunk in np.split(data, [1, 2, 70, 71]):
        norm.add(torch.from_numpy(chunk))
    plain = data.astype(np.float64)
    wanted = ((plain - plain.mean(0)) / np.sqrt(plain.var(0) + 1e-8)).clip(-10, 10)
    given = torch.from_numpy(data).view(250, 2, 3)
    normalised = norm(given)
    assert normalised.dtype == torch.float32
    np.testing.assert_allclose(normalised.view(500, 3).numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert norm(torch.tensor([[[1e30, 1e4, 0]]]))[0].tolist() == pytest.approx([LARGEST, 0, LARGEST], abs=0.1)


def test_without_two_observations_numbers_stay_as_they_are() -> None:
    norm = RunningNormalization(2)
    given = torch.tensor([[[70000.0, -3.0], [1.0, 2.0]]])
    assert torch.equal(norm(given), given.flatten(1))
    norm.add(given[:, 0])
    assert torch.equal(norm(given), given.flatten(1))


class Grow(nn.Module):
    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.output_shape = shape

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.float() * 2

    def multiply_adds(self) -> int:
        return 5


def test_latents_come_back_as_the_maps_and_vectors_that_they_were() -> None:
    shapes = [(2, 3, 4), (1, 5, 2)]
    stage = SensorStage([Grow(shape) for shape in shapes], vector_size=6)
    images = tuple(torch.randn(7, *shape) for shape in shapes)
    seen = stage(Sensed(images, torch.randn(7, 6)))
    flat = seen.flat()
    assert flat.shape == (7, *stage.output_shape) == (7, 24 + 10 + 6)
    assert torch.equal(flat[:, :24], 2 * images[0].flatten(1))
    again = stage.sensed_from(flat, torch.float32)
    for one, other in zip((*seen.images, seen.vectors), (*again.images, again.vectors), strict=True):
        assert torch.equal(one, other)
    assert stage.multiply_adds() == 10


def test_only_the_newest_vectors_are_counted_and_none_in_evaluation_mode() -> None:
    norm = RunningNormalization(1)
    stage = SensorStage([], vector_size=2, normalization=norm)
    seen = Sensed((), torch.tensor([[[100.0], [1.0]], [[200.0], [3.0]]]))
    stage.learn_range(seen)
    assert (float(norm.count), norm.mean.tolist()) == (2, [2.0])
    stage.eval().learn_range(seen)
    assert float(norm.count) == 2
