"""The step stored beside each observation: action, reward, and how the episode goes on.

Axes: B batch, S stack, A actions.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seer.core.rows import RowFormat


class End(IntEnum):
    """How the episode goes on after a row."""

    GOING_ON = 0  # the next row is the next observation
    TERMINATED = 1  # true end: nothing follows, the next row is another episode's
    TRUNCATED = 2  # cut by a time limit: the next row closes the episode
    CLOSING = 3  # the observation after a truncated last step: no action was taken in it
    JUMPED = 4  # cut as well, but the whole stack of the observation after it follows, the row that closes last


FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ActionFormat(RowFormat):
    """How actions are stored: int64 `()` or float32 `(A,)`, which may be limited to some.

    Attributes:
        choices: the actions of a Discrete space; None where any can be stored.
        low, high: the bounds of a Box, `(A,)` or one for all; actions may lie beyond them by rounding, a millionth of
            the range.
    """

    choices: range | None = None
    low: ArrayLike = field(default=-FLOAT32_MAX, compare=False)
    high: ArrayLike = field(default=FLOAT32_MAX, compare=False)

    def holds(self, action: NDArray[Any]) -> bool:
        """Tell whether a finite action lies within the bounds."""
        low, high = self._ends
        return bool(((low <= action) & (action <= high)).all())

    @cached_property
    def _ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest that is stored; float64, so that no bounds are too far apart."""
        low, high = (np.clip(np.asarray(end, np.float64), -FLOAT32_MAX, FLOAT32_MAX) for end in (self.low, self.high))
        margin = (high - low) * 1e-6
        return low - margin, high + margin


def refuse_step(action: ArrayLike, reward: float, wanted: RowFormat) -> None:
    """Refuse an action, or a reward, that would be stored as another one.

    Raises:
        ValueError: one isn't finite, or the action has another shape, is no whole number where it must be one, or none
            of the choices.
    """
    if not abs(reward) <= FLOAT32_MAX:
        raise ValueError(f"reward is {reward}: it must be a finite number in float32")
    numbers = np.asarray(action)
    if numbers.shape != wanted.shape:
        raise ValueError(f"action is {numbers.shape}, not {wanted.shape}")
    if wanted.dtype.is_floating_point:
        if not (np.abs(numbers) <= FLOAT32_MAX).all():
            raise ValueError(f"action is {numbers.tolist()}: its numbers must be finite in float32")
        if isinstance(wanted, ActionFormat) and not wanted.holds(numbers):
            raise ValueError(
                f"action is {numbers.tolist()}: the action space has {np.asarray(wanted.low).tolist()} to "
                f"{np.asarray(wanted.high).tolist()}; give make_replay the space of the actions that you store"
            )
        return
    if not (numbers % 1 == 0).all():
        raise ValueError(f"action is {numbers.tolist()}: it must be a whole number")
    choices = getattr(wanted, "choices", None)
    if choices is not None and int(numbers) not in choices:
        raise ValueError(f"action is {int(numbers)}: the action space has {choices[0]} to {choices[-1]}")


class Steps:
    """Columns of steps: one per quantity, with one entry per place of the ring.

    Args:
        capacity: number of places.
        action: shape and dtype of an action.
    """

    def __init__(self, capacity: int, action: RowFormat) -> None:
        dtype = torch.empty(0, dtype=action.dtype).numpy().dtype
        self._action_format = action
        self._capacity = capacity
        self.action = np.zeros((capacity, *action.shape), dtype)
        self.reward = np.zeros(capacity, np.float32)
        self.age = np.zeros(capacity, np.uint8)  # rows before it in its episode, capped at stack - 1
        self.end = np.zeros(capacity, np.uint8)  # an `End`

    @property
    def num_bytes(self) -> int:
        """Return the bytes allocated, all columns together."""
        return sum(column.nbytes for column in self._columns().values())

    def write(self, place: int, *, action: ArrayLike, reward: float, age: int, end: End) -> None:
        """Overwrite the entry at `place`."""
        self.action[place] = action
        self.reward[place] = reward
        self.age[place] = age
        self.end[place] = end

    def stack(self, places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return the places `[B, size]`, oldest first, that make up the observations at `places` `[B]`.

        Where the episode is younger than `size`, its first row is repeated.
        """
        back = np.minimum(np.arange(size - 1, -1, -1), self.age[places][:, None])
        return (places[:, None] - back) % self._capacity

    def fold(
        self, places: NDArray[np.int64], discounts: NDArray[np.floating], stack: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Fold the n steps from each of `places` `[B]` into one; a window stops where its episode ends.

        Args:
            places: rows whose whole window is stored.
            discounts: `[n + 1]`, the k-th power of the discount for k = 0..n.
            stack: S, the rows that follow a step that jumped.

        Returns:
            With m <= n the steps in the window: the discounted reward `[B]`; discount^m `[B]`, or 0 after a
            true end; the place `[B]` m rows on (after a true end nothing follows: the window's last row).
        """
        n_step = len(discounts) - 1
        steps = np.arange(n_step)
        window = places[:, None] + steps  # [B, n]
        end = self.end.take(window, mode="wrap")
        ended = end != End.GOING_ON
        length = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, n_step)
        last = end[np.arange(len(places)), length - 1]
        terminated = last == End.TERMINATED
        inside = steps < length[:, None]
        rewards = self.reward.take(window, mode="wrap") * discounts[:-1]
        reward = rewards.sum(axis=1, where=inside)
        discount = np.where(terminated, 0.0, discounts[length])
        following = (places + length - terminated + (stack - 1) * (last == End.JUMPED)) % self._capacity
        return reward.astype(np.float32), discount.astype(np.float32), following

    def rearranged(self, sources: NDArray[np.int64], capacity: int) -> "Steps":
        """Return new columns of `capacity` whose entry `i` is this one's entry `sources[i]`."""
        steps = Steps(capacity, self._action_format)
        for name, column in steps._columns().items():
            column[: len(sources)] = self._columns()[name][sources]
        return steps

    def state_dict(self, size: int) -> dict[str, Any]:
        """Return views of the first `size` entries."""
        return {name: column[:size] for name, column in self._columns().items()}

    def load_state_dict(self, state: dict[str, Any], size: int) -> None:
        """Overwrite the first `size` entries with `state`'s.

        Raises:
            ValueError: it has others.
        """
        for name, column in self._columns().items():
            saved = state[name]
            if saved.dtype != column.dtype or saved.shape != column[:size].shape:
                raise ValueError(
                    f"column {name} is {saved.dtype} {saved.shape}, not {column.dtype} {column[:size].shape}"
                )
            column[:size] = saved

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {"action": self.action, "reward": self.reward, "age": self.age, "end": self.end}
