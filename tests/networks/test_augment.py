"""Crops against plain slicing."""

from collections.abc import Callable

import pytest
import torch

from seer.networks.augment import center_crop, index_windows, random_crop, slice_windows


def observations(batch: int, *, side: int) -> torch.Tensor:
    """Stacks [B, 3, 2, side, side] in which every pixel of an observation has a number of its own."""
    return torch.arange(batch * 3 * 2 * side * side, dtype=torch.int32).view(batch, 3, 2, side, side)


@pytest.mark.parametrize(("side", "size"), [(10, 7), (9, 9), (8, 1), (50, 42)])
def test_every_random_crop_is_a_window_of_its_own_observation(side: int, size: int) -> None:
    frames = observations(40, side=side)
    crops = random_crop(frames, size, torch.Generator().manual_seed(0))
    assert crops.shape == (40, 3, 2, size, size)
    places = set()
    for frame, crop in zip(frames, crops, strict=True):
        top, left = divmod(int(crop[0, 0, 0, 0] - frame[0, 0, 0, 0]), side)
        places.add((top, left))
        # One place for the whole stack and all channels.
        assert torch.equal(crop, frame[:, :, top : top + size, left : left + size])
    assert len(places) > 1 or side == size


def test_places_are_uniform_and_reach_every_corner() -> None:
    frames = observations(1, side=6).expand(9000, -1, -1, -1, -1)
    corners = random_crop(frames, 4, torch.Generator().manual_seed(1))[:, 0, 0, 0, 0]
    places, counts = corners.unique(return_counts=True)
    assert places.tolist() == [6 * top + left for top in range(3) for left in range(3)]
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_the_generator_alone_decides() -> None:
    frames = observations(20, side=12)
    first = random_crop(frames, 5, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    assert torch.equal(first, random_crop(frames, 5, torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("windows", [slice_windows, index_windows])
def test_both_ways_to_copy_windows_are_slicing(windows: Callable[..., torch.Tensor]) -> None:
    frames, top, left = observations(3, side=9), torch.tensor([0, 4, 2]), torch.tensor([4, 0, 1])
    expected = torch.stack([frames[0, ..., 0:5, 4:9], frames[1, ..., 4:9, 0:5], frames[2, ..., 2:7, 1:6]])
    assert torch.equal(windows(frames, 5, top, left), expected)


@pytest.mark.parametrize(("side", "size", "start"), [(100, 84, 8), (50, 42, 4), (7, 4, 1), (5, 5, 0)])
def test_center_crop(side: int, size: int, start: int) -> None:
    frames = observations(2, side=side)
    expected = frames[..., start : start + size, start : start + size]
    assert torch.equal(center_crop(frames, size), expected)
