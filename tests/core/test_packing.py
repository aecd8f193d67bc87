"""Packed frames: their bytes against a loop by hand, refusals, changes of each camera."""

import struct
from typing import Any

import numpy as np
import pytest
import torch

from seer.core.packing import EachCamera, Packing
from seer.networks.augment import Crop, center_crop

PACKING = Packing({"a": (1, 5, 7), "b": (3, 4, 9)}, {"x": 3, "flag": 1, "y": 4})


def observation(seed: int) -> dict[str, Any]:
    """Of several dtypes and shapes, a scalar among them."""
    rng = np.random.default_rng(seed)
    return {
        "y": rng.normal(size=(2, 2)) * 1e3,
        "flag": np.bool_(seed % 2),
        "b": rng.integers(256, size=(3, 4, 9), dtype=np.uint8),
        "unseen": "text",
        "a": rng.integers(256, size=(1, 5, 7), dtype=np.uint8),
        "x": rng.integers(-9, 9, size=3),
    }


def by_hand(seen: dict[str, Any]) -> bytes:
    found = b""
    for name in ("a", "b"):
        found += bytes(int(value) for value in seen[name].flatten())
    for name in ("x", "flag", "y"):
        for number in np.ravel(seen[name]):
            found += struct.pack("=f", float(number))
    return found


def test_bytes_are_those_of_a_loop_by_hand() -> None:
    assert PACKING.frame_shape == (1, 1, 35 + 108 + 4 * 8)
    for seed in range(5):
        frame = PACKING.pack(observation(seed))
        assert frame.dtype == np.uint8
        assert frame.shape == PACKING.frame_shape
        assert frame.tobytes() == by_hand(observation(seed))


def test_stacks_are_unpacked_as_they_were() -> None:
    seen = [[observation(10 * b + s) for s in range(3)] for b in range(4)]
    packed = torch.from_numpy(np.stack([np.stack([PACKING.pack(each) for each in stack]) for stack in seen]))
    frames, numbers = PACKING.frames_of(packed), PACKING.numbers_of(packed)
    assert numbers.shape == (4, 3, 8)
    assert numbers.dtype == torch.float32
    for b, stack in enumerate(seen):
        for s, each in enumerate(stack):
            for camera, name in zip(frames, ("a", "b"), strict=True):
                assert np.array_equal(camera[b, s].numpy(), each[name])
            wanted = [float(number) for name in ("x", "flag", "y") for number in np.ravel(each[name])]
            assert numbers[b, s].tolist() == np.float32(wanted).tolist()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"x": [0, float("nan"), 0]}, "the vector 'x' has nan: its numbers must be finite"),
        ({"y": np.array([0, 0, 1e39, 0])}, r"the vector 'y' has 1e\+39"),
        ({"flag": np.inf}, "the vector 'flag' has inf"),
        ({"x": [1, 2]}, "the vector 'x' has 2 numbers, not 3"),
        ({"a": np.zeros((1, 7, 5), np.uint8)}, r"the frame of 'a' is uint8 \[1, 7, 5\], not uint8 \[1, 5, 7\]"),
        ({"b": np.zeros((3, 4, 9))}, r"the frame of 'b' is float64"),
    ],
)
def test_what_a_frame_can_t_hold_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PACKING.pack(observation(0) | wrong)


def test_what_is_missing_is_named() -> None:
    seen = observation(0)
    del seen["b"], seen["y"]
    with pytest.raises(ValueError, match="the observation has no 'b', 'y'"):
        PACKING.pack(seen)


def test_each_camera_is_changed_on_its_own() -> None:
    """Crops of 8 of 10 pixels are crops of 4 of 5 for a camera of that size; vectors stay."""
    packing = Packing({"large": (1, 10, 10), "small": (2, 5, 5)}, {"x": 2})
    rng = np.random.default_rng(0)
    shapes = packing.cameras.items()
    seen = {name: rng.integers(256, size=shape, dtype=np.uint8) for name, shape in shapes} | {"x": [1.5, -2]}
    crop = EachCamera(packing, Crop(center_crop, size=8, whole=10))
    cropped, after = crop(torch.from_numpy(packing.pack(seen))[None, None]), crop.changed()
    assert after == Packing({"large": (1, 8, 8), "small": (2, 4, 4)}, {"x": 2})
    large, small = after.frames_of(cropped)
    assert np.array_equal(large[0, 0], seen["large"][:, 1:9, 1:9])
    assert np.array_equal(small[0, 0], seen["small"][:, :4, :4])
    assert after.numbers_of(cropped)[0, 0].tolist() == [1.5, -2]
