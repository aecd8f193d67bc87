"""Fields of the settings: their flags, types and bounds."""

import math
from typing import Any

import pytest

from seer.config import FIELDS, Config
from seer.fields import Bounds, value_of

BY_NAME = {field.name: field for field in FIELDS}


@pytest.mark.parametrize(
    ("bounds", "right", "wrong"),
    [
        (Bounds(above=0), (1e-9, 10**12), {0: "must be more than 0", 10**12 + 1: "must be 1,000,000,000,000 or less"}),
        (Bounds(at_least=2, at_most=10_001), (2, 10_001), {1: "must be 2 or more", 10_002: "must be 10,001 or less"}),
        (Bounds(at_least=0, at_most=1, words="must lie between 0 and 1"), (0, 1), {
            -0.1: "must lie between 0 and 1", 1.1: "must lie between 0 and 1", math.inf: "must lie between 0 and 1",
        }),
        (Bounds(), (-math.inf, 0), {math.nan: "must be 1,000,000,000,000 or less"}),
        (Bounds(above=0), (), {math.nan: "must be more than 0"}),
        (Bounds(at_least=0), (), {math.nan: "must be 0 or more"}),
    ],
)  # fmt: skip
def test_bounds(bounds: Bounds, right: tuple[float, ...], wrong: dict[float, str]) -> None:
    assert [bounds.complaint(number) for number in right] == [None] * len(right)
    assert {number: bounds.complaint(number) for number in wrong} == wrong


def test_every_number_has_bounds_or_is_bounded_by_other_settings() -> None:
    numbers = {field.name for field in FIELDS if field.kind in (int, float, int | None)}
    assert len(numbers) > 40
    assert {name for name in numbers if BY_NAME[name].bounds is None} == {"replay.capacity", "freeze.latest"}


def test_a_complaint_names_the_flag() -> None:
    assert BY_NAME["replay.n_step"].complaint(0) == "--n-step 0 must be more than 0"
    assert BY_NAME["image.size"].complaint(1025) == "--image-size 1025 must be 1,024 or less"
    assert BY_NAME["image.crop_size"].complaint(None) is None
    assert BY_NAME["replay.memory"].complaint("a lot") is None  # no number


def test_every_flag_is_one_settings() -> None:
    assert len({field.flag for field in FIELDS}) == len(FIELDS) == len(BY_NAME)
    assert {"freeze-at", "freeze-patience", "replay-memory", "image-size", "frame-stack", "steps"} <= {
        field.flag for field in FIELDS
    }


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("steps", (1, -1), (1.0, "1", True, None)),
        ("threads", (1, None), (1.0, "1", False)),
        ("learning.discount", (0.5, 1), ("1", True, None)),
        ("freeze.at", ("never",), (700, None)),
        ("agent", ("dqn",), (1, None)),
        ("value.double", (True,), (1, "True", None)),
    ],
)
def test_types_are_those_of_json(name: str, right: tuple[Any, ...], wrong: tuple[Any, ...]) -> None:
    assert all(BY_NAME[name].takes(value) for value in right)
    assert not any(BY_NAME[name].takes(value) for value in wrong)


def test_values_by_dotted_name() -> None:
    config = Config(env="ALE/Pong-v5", seed=3)
    assert (value_of(config, "seed"), value_of(config, "freeze.at")) == (3, config.freeze.at)
