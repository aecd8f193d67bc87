"""Environments played and compared step by step."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from seer.envs.base import PixelEnvironment

Transition = tuple[npt.NDArray[np.uint8], float, bool, bool, dict[str, Any]]


def through_json(value: Any) -> Any:
    """What a checkpoint does to a state: arrays stay arrays, everything else becomes JSON and comes back."""
    if isinstance(value, dict):
        return {key: through_json(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value))


def play(environment: PixelEnvironment, *, seed: int, steps: int) -> list[Transition]:
    """`steps` random steps, with resets where they are due; each reset is recorded like a step."""
    rng = np.random.default_rng(seed)
    record: list[Transition] = []
    for _ in range(steps):
        if environment.state_dict()["needs_reset"]:
            observation, info = environment.reset()
            record.append((observation, 0.0, False, False, info))
        record.append(environment.step(rng.integers(environment.action_space.n)))  # type: ignore[attr-defined]
    return record


def assert_same(left: list[Transition], right: list[Transition]) -> None:
    assert len(left) == len(right)
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        assert np.array_equal(one[0], other[0]), f"observations differ at {place}"
        assert one[1:] == other[1:], f"differs at {place}"


def assert_equal_states(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, dict):
            assert_equal_states(value, right[name])
        else:
            assert np.array_equal(value, right[name]), name
