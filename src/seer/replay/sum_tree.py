"""Weights in an array, and a draw in proportion to them in a few vectorised steps.

Axes: B batch.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FAN_OUT = 32  # children per node: a million leaves are four levels, each level one NumPy pass over a batch


class SumTree:
    """A wide tree whose nodes hold the sum of their children; the leaves are the weights.

    Writing changes only leaves. The sums above them are recomputed from their children, for all changed
    leaves at once, when they are next needed: nothing is added up incrementally, so nothing drifts.

    Args:
        num_leaves: number of weights; all start at 0.
    """

    def __init__(self, num_leaves: int) -> None:
        self.num_leaves = num_leaves
        self._levels = [_zero_level(num_leaves)]
        while len(self._levels[-1]) > _FAN_OUT:
            self._levels.append(_zero_level(len(self._levels[-1]) // _FAN_OUT))
        self._stale: list[int] = []

    @property
    def leaves(self) -> NDArray[np.float64]:
        """Return the weights, `[num_leaves]` float64: a view, to read only."""
        return self._levels[0][: self.num_leaves]

    @property
    def total(self) -> float:
        """Return the sum of all weights."""
        self._refresh()
        return float(self._levels[-1].sum())

    @property
    def num_bytes(self) -> int:
        """Return the bytes allocated, all levels together."""
        return sum(level.nbytes for level in self._levels)

    def set(self, leaves: NDArray[np.int64], weights: ArrayLike) -> None:
        """Give `leaves` `[B]` the `weights`: `[B]` or one for all, finite and not negative."""
        self._levels[0][leaves] = weights
        self._stale.extend(leaves.tolist())

    def find(self, mass: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each `mass` `[B]` in [0, total) the leaf in which the running sum of weights passes it.

        A leaf of weight 0 is never returned as long as any weight is positive.
        """
        self._refresh()
        mass = mass.copy()
        batch = np.arange(len(mass))
        node = np.zeros(len(mass), dtype=np.int64)
        for level in reversed(self._levels):
            running = level.reshape(-1, _FAN_OUT).take(node, axis=0).cumsum(axis=1)  # [B, fan-out]
            # A node's sum and its children's running sum may differ in the last bit: stay below both.
            np.minimum(mass, np.nextafter(running[:, -1], 0.0), out=mass)
            child = (running > mass[:, None]).argmax(axis=1)  # the first that passes
            mass -= np.where(child > 0, running[batch, child - 1], 0.0)
            node = node * _FAN_OUT + child
        return node

    def _refresh(self) -> None:
        """Recompute the sums above every leaf written since the last time, level by level."""
        if not self._stale:
            return
        nodes = np.array(self._stale, dtype=np.int64)
        for below, above in zip(self._levels, self._levels[1:], strict=False):
            nodes = np.unique(nodes // _FAN_OUT)
            above[nodes] = below.reshape(-1, _FAN_OUT).take(nodes, axis=0).sum(axis=1)
        self._stale.clear()


def _zero_level(num_nodes: int) -> NDArray[np.float64]:
    """Return zeros for `num_nodes`, padded to whole groups of siblings."""
    return np.zeros(-(-num_nodes // _FAN_OUT) * _FAN_OUT)
