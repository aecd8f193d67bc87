"""Which stored rows can be drawn, and with what probability. A place is a row's position in the memory block.

Axes: B batch.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seer.errors import SettingError
from seer.replay.sum_tree import SumTree

_SMALLEST_PRIORITY = 1e-8  # a priority of 0 would make a row unreachable for ever


class Sampler(Protocol):
    """A set of sampleable places and a way to draw from it."""

    @property
    def num_sampleable(self) -> int:
        """Return the number of places that can be drawn."""

    @property
    def mass(self) -> float:
        """Return the sum of the places' weights, by which samplers compare; probability = weight / mass."""

    @property
    def num_bytes(self) -> int:
        """Return the bytes allocated."""

    def rearrange(self, sources: NDArray[np.int64], capacity: int) -> None:
        """Grow to `capacity` places: place `i` takes over what `sources[i]` held, the rest are empty."""

    def enable(self, places: Sequence[int]) -> None:
        """Make `places`, none of which is sampleable, sampleable."""

    def disable(self, places: Sequence[int]) -> None:
        """Stop drawing `places`; those that aren't sampleable are left alone."""

    def holds(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which of `places` `[B]` can be drawn."""

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw with replacement; return places `[B]` and the probability `[B]` of drawing each."""

    def update(self, places: NDArray[np.int64], priority: NDArray[np.float64]) -> None:
        """Take new priorities `[B]` for `places` `[B]`; places that aren't sampleable are left alone."""

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs; arrays are views."""

    def load_state_dict(self, state: dict[str, Any], capacity: int) -> None:
        """Continue from `state`, with room for `capacity` places."""


class Uniform:
    """Draws every sampleable place with equal probability, at the same cost however many there are.

    The sampleable places stand in a list without holes; one that leaves is replaced by the last.
    """

    def __init__(self) -> None:
        self._listed = np.empty(0, dtype=np.int32)  # [capacity], the first `_count` are in use
        self._rank = np.empty(0, dtype=np.int32)  # [capacity], where a place stands in `_listed`, or -1
        self._count = 0

    @property
    def num_sampleable(self) -> int:
        return self._count

    @property
    def mass(self) -> float:
        return self._count

    @property
    def num_bytes(self) -> int:
        return self._listed.nbytes + self._rank.nbytes

    def rearrange(self, sources: NDArray[np.int64], capacity: int) -> None:
        destination = np.full(len(self._rank), -1, dtype=np.int32)
        destination[sources] = np.arange(len(sources))
        moved = destination[self._listed[: self._count]]
        self._list(moved[moved >= 0], capacity)

    def enable(self, places: Sequence[int]) -> None:
        for place in places:
            self._listed[self._count] = place
            self._rank[place] = self._count
            self._count += 1

    def disable(self, places: Sequence[int]) -> None:
        for place in places:
            rank = self._rank[place]
            if rank < 0:
                continue
            self._count -= 1
            last = self._listed[self._count]
            self._listed[rank] = last
            self._rank[last] = rank
            self._rank[place] = -1

    def holds(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._rank[places] >= 0

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        places = self._listed[rng.integers(self._count, size=batch_size)].astype(np.int64)
        return places, np.full(batch_size, 1.0 / self._count)

    def update(self, places: NDArray[np.int64], priority: NDArray[np.float64]) -> None:
        """Do nothing: all places stay equal."""

    def state_dict(self) -> dict[str, Any]:
        return {"listed": self._listed[: self._count]}

    def load_state_dict(self, state: dict[str, Any], capacity: int) -> None:
        self._list(state["listed"], capacity)

    def _list(self, places: NDArray[np.int32], capacity: int) -> None:
        """Start over with `places` in this order."""
        self._count = len(places)
        self._listed = np.zeros(capacity, dtype=np.int32)
        self._listed[: self._count] = places
        self._rank = np.full(capacity, -1, dtype=np.int32)
        self._rank[places] = np.arange(self._count)


class Prioritized:
    """Draws places in proportion to `priority ** exponent`: proportional prioritised sampling.

    A place enters with the largest priority seen so far (1 at first). A batch of B is drawn stratified, one
    from each B-th of the total. Source: Schaul et al. 2016 (arXiv 1511.05952), section 3.3.

    Args:
        exponent: 0 is uniform, 1 fully in proportion to the priority; Rainbow takes 0.5.

    Raises:
        SettingError: the exponent is negative.
    """

    def __init__(self, exponent: float = 0.5) -> None:
        if exponent < 0:
            raise SettingError(f"priority exponent is {exponent}: it must be 0 or more")
        self._exponent = exponent
        self._largest = np.ones(1)  # an array, so that samplers can share it
        self._tree = SumTree(0)
        self._count = 0

    @property
    def num_sampleable(self) -> int:
        return self._count

    @property
    def mass(self) -> float:
        return float(self._tree.total)

    @property
    def num_bytes(self) -> int:
        return self._tree.num_bytes

    def enter_like(self, other: "Prioritized") -> None:
        """Let places enter both samplers, from now on, with the largest priority that either has seen."""
        self._largest = other._largest

    def rearrange(self, sources: NDArray[np.int64], capacity: int) -> None:
        self._plant(self._tree.leaves[sources], capacity)

    def enable(self, places: Sequence[int]) -> None:
        self._tree.set(np.asarray(places, dtype=np.int64), self._largest[0] ** self._exponent)
        self._count += len(places)

    def disable(self, places: Sequence[int]) -> None:
        leaving = np.asarray(places, dtype=np.int64)
        self._count -= int(np.count_nonzero(self._tree.leaves[leaving]))
        self._tree.set(leaving, 0.0)

    def holds(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._tree.leaves[places] > 0

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        total = self._tree.total
        mass = (np.arange(batch_size) + rng.random(batch_size)) * (total / batch_size)
        places = self._tree.find(mass)
        return places, self._tree.leaves[places] / total

    def update(self, places: NDArray[np.int64], priority: NDArray[np.float64]) -> None:
        """See `Sampler.update`; raises ValueError if a priority is negative or not finite."""
        if not np.all((priority >= 0) & np.isfinite(priority)):
            raise ValueError("priorities must be finite and not negative")
        sampleable = self._tree.leaves[places] > 0
        places, priority = places[sampleable], np.maximum(priority[sampleable], _SMALLEST_PRIORITY)
        self._tree.set(places, priority**self._exponent)
        self._largest[0] = priority.max(initial=self._largest[0])

    def state_dict(self) -> dict[str, Any]:
        leaves = self._tree.leaves
        used = np.flatnonzero(leaves)[-1:].sum() + 1  # all behind are zero
        return {"weights": leaves[:used], "largest": float(self._largest[0])}

    def load_state_dict(self, state: dict[str, Any], capacity: int) -> None:
        self._largest[0] = state["largest"]
        self._plant(state["weights"], capacity)

    def _plant(self, weights: NDArray[np.float64], capacity: int) -> None:
        """Start over with these weights for the first places."""
        self._tree = SumTree(capacity)
        self._tree.set(np.arange(len(weights)), weights)
        self._count = int(np.count_nonzero(weights))
