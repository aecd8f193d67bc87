"""Latents in fewer bytes, against arithmetic one number at a time and the slow twin of the replay."""

import copy
import struct
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seer.errors import SettingError
from seer.replay import LATENT_DTYPES, RowFormat, Uniform
from seer.replay.codec import Codec, Int8Codec

from .oracle import EPISODES, FRAME, Encoder, Everything, Pair

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TOLERANCE = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8}  # half of the last bit, relative


class SmallNumbers(Encoder):
    """Like `Encoder`, within float16's range and below 0 too, to be stored as `dtype`."""

    def __init__(self, dtype: str, *, crops: int = 2, encoders: int = 1, latent: int = 3) -> None:
        super().__init__(crops=crops, encoders=encoders, latent=latent, stack=3)
        self.latent = RowFormat(self.latent.shape, LATENT_DTYPES[dtype])

    def __call__(self, frames: Tensor) -> Tensor:
        return super().__call__(frames) / 16 - 1000


def agrees(pair: Pair, dtype: str) -> Any:
    """What says whether a latent was read back as well as `dtype` can: asked before the conversion."""
    if dtype != "int8":
        return lambda read, exact: torch.allclose(read, exact, rtol=TOLERANCE[dtype], atol=0)
    stored = pair.slow.stored()
    lost = 0 if len(pair.slow.rows) == len(stored) else 2  # rows without their stack, of three
    assert pair.encode is not None
    fitted = torch.stack([pair.latents(row) for row in stored[lost:]]).flatten(0, 1)  # [rows * K, N, L]
    low, high = fitted.amin(0), fitted.amax(0)
    half_step = (high - low) / 255 / 2 * 1.001 + 1e-3

    def agree(read: Tensor, exact: Tensor) -> bool:
        nearest = torch.minimum(torch.maximum(exact, low), high)
        return bool(((read - nearest).abs() <= half_step).all())

    return agree


def convert(pair: Pair, dtype: str, **shape: int) -> Any:
    encode = SmallNumbers(dtype, **shape)
    pair.encode = encode
    pair.agree = agrees(pair, dtype)
    return pair.transcode(encode, chunk_rows=7)


@pytest.mark.parametrize("dtype", LATENT_DTYPES)
@pytest.mark.parametrize(("crops", "encoders"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("steps", [30, 77])  # the ring has not, or has, wrapped
def test_what_is_read_is_what_was_encoded(dtype: str, crops: int, encoders: int, steps: int) -> None:
    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES[:steps])
    result = convert(pair, dtype, crops=crops, encoders=encoders)
    assert pair.fast.row.dtype == LATENT_DTYPES[dtype]
    assert pair.fast.capacity == pair.memory.num_bytes // (crops * encoders * 3 * LATENT_DTYPES[dtype].itemsize)
    pair.check(pair.fast.sample(1))  # everything there is
    pair.add_all(EPISODES * 3)  # appended as float32, stored as before
    batch = pair.fast.sample(1)
    assert batch.now.dtype == batch.next.dtype == torch.float32
    pair.check(batch)
    ids = pair.fast.recent(9, span=20)
    for latents, number in zip(pair.fast.read(ids), ids, strict=True):
        assert pair.agree(latents, pair.latents(pair.slow.rows[number]))
    assert (result.error is None) == (dtype == "float32")
    assert result.fitted == (0 if dtype != "int8" else pair_rows(steps))


def pair_rows(steps: int) -> int:
    """Rows with a whole stack after so many steps of EPISODES, in a ring of 40."""
    rows = steps + EPISODES[:steps].count("truncated")
    return rows if rows <= 40 else 38


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_the_reported_error_is_that_of_every_converted_row(dtype: str) -> None:
    pair = Pair(sampler=Everything())
    pair.add_all(EPISODES[:77])
    error = convert(pair, dtype).error
    stored = pair.slow.stored()
    read = pair.fast.read(np.array([row.number for row in stored])).double()
    exact = torch.stack([pair.latents(row) for row in stored]).double()
    assert error.largest == pytest.approx(float((read - exact).abs().max()), rel=1e-5)
    assert error.largest > 0
    spread = exact.flatten(0, 1).std(0, unbiased=False).norm()
    assert error.relative == pytest.approx(float((read - exact).flatten(0, 1).square().mean(0).sum() ** 0.5 / spread))
    assert error.clipped_share == (None if dtype != "int8" else pair.fast.clipped_share)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_loaded_replay_continues_identically(dtype: str) -> None:
    one, other = Pair(sampler=Uniform()), Pair(sampler=Uniform())
    one.add_all(EPISODES[:77])
    convert(one, dtype)
    one.add_all(EPISODES[:37])
    other.fast.load_state_dict(copy.deepcopy(one.fast.state_dict()))
    other.slow, other.encode, other.agree = copy.deepcopy(one.slow), one.encode, one.agree
    for end in EPISODES[37:100]:
        for pair in (one, other):
            pair.add(end)
        first, second = one.fast.sample(8), other.fast.sample(8)
        assert torch.equal(first.now, second.now)
        one.check(first)
    assert one.fast.clipped_share == other.fast.clipped_share


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_float16_is_numpys_and_ends_at_its_largest(numbers: list[float]) -> None:
    codec = Codec(torch.float32, torch.float16)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        read = codec.decode(codec.encode(torch.tensor(numbers)))
        codec.encode(torch.tensor(numbers))  # is told of once
    assert [str(each.message)[:27] for each in warned] == ["latents beyond 65,504, wher"] * (
        max(map(abs, numbers)) > 65504
    )
    limited = np.clip(np.array(numbers, np.float32), -65504, 65504)
    assert read.tolist() == limited.astype(np.float16).astype(np.float32).tolist()


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_bfloat16_is_the_upper_half_rounded_to_even(numbers: list[float]) -> None:
    codec = Codec(torch.float32, torch.bfloat16)
    for number, read in zip(numbers, codec.decode(codec.encode(torch.tensor(numbers))).tolist(), strict=True):
        (bits,) = struct.unpack("<I", struct.pack("<f", number))
        upper, lower = divmod(bits, 2**16)
        upper += lower > 2**15 or (lower == 2**15 and upper % 2 == 1)
        assert read == struct.unpack("<f", struct.pack("<I", upper * 2**16))[0]


@given(
    fitted=st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=20),
    later=st.lists(st.floats(-150, 150, width=16), min_size=1, max_size=20),
)
def test_int8_is_the_nearest_of_256_levels(fitted: list[float], later: list[float]) -> None:
    low, high = min(fitted), max(fitted)
    levels = [low + (high - low) * k / 255 for k in range(256)]
    codec = Int8Codec.fitted([torch.tensor([number]).view(1, 1, 1, 1) for number in fitted])
    stored = codec.encode(torch.tensor(later).view(-1, 1, 1, 1))
    assert stored.dtype == torch.int8
    for number, read in zip(later, codec.decode(stored).flatten().tolist(), strict=True):
        nearest = min(abs(level - number) for level in levels)
        assert abs(read - number) == pytest.approx(nearest, abs=1e-3)
    beyond = (high - low) / 255 / 2
    clear = [number for number in later if not (abs(number - low) <= 2 * beyond or abs(number - high) <= 2 * beyond)]
    outside = sum(not low <= number <= high for number in clear)
    assert outside <= codec.clipped_share * len(later) + 1e-9 <= outside + len(later) - len(clear) + 1e-6


def test_int8_has_a_range_for_every_dimension_over_all_crops() -> None:
    latents = torch.zeros(5, 2, 3, 4)  # [B, K, N, L]
    latents[4, 0, 2, 1], latents[0, 1, 2, 1], latents[3, 1, 0, 3] = -7, 5, 255
    codec = Int8Codec.fitted(latents.split(2))
    assert codec.low.shape == codec.step.shape == (3, 4)
    assert codec.low[2, 1] == -7
    assert codec.step[2, 1] == pytest.approx(12 / 255)
    assert codec.step[0, 3] == 1
    assert torch.allclose(codec.decode(codec.encode(latents)), latents, atol=12 / 255 / 2)
    assert codec.clipped_share == 0


def test_rectified_features_keep_their_zeros() -> None:
    latents = torch.rand(100, 1, 1, 30).sub(0.5).relu() * torch.logspace(-6, 6, 30)
    codec = Int8Codec.fitted([latents])
    assert torch.equal(codec.decode(codec.encode(latents)) == 0, latents < codec.step / 2)


def test_a_smaller_dtype_can_make_latents_pay() -> None:
    for dtype, converted in (("float32", False), ("float16", True)):
        pair = Pair(sampler=Everything())
        pair.add_all(EPISODES)
        assert convert(pair, dtype, crops=1, latent=FRAME.num_bytes // 4 + 1).converted is converted
        assert pair.fast.holds_latents is converted


def test_int8_needs_something_to_fit() -> None:
    pair = Pair(sampler=Everything())
    with pytest.raises(SettingError, match="no observation is stored"):
        pair.transcode(SmallNumbers("int8"))
    assert not pair.fast.holds_latents


def test_other_dtypes_are_refused() -> None:
    pair = Pair(sampler=Everything())
    with pytest.raises(ValueError, match=r"torch.int16, only as float32, float16, bfloat16, int8"):
        pair.fast.transcode(SmallNumbers("int8"), RowFormat((2, 1, 3), torch.int16))
