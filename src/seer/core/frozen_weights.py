"""Refuse frozen weights that have changed: every stored latent would be stale, and nothing else would show it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from seer.errors import SettingError

LARGEST_CHANGE = 1e-3
"""Of the weights' norm, relative: above what rounding does, reached by a usual average after some forty updates."""


UNCOUNTED = 100
"""Checks from one look at the norm to the next: PyTorch doesn't count writes through `weight.data`."""


class FrozenWeights:
    """Refuse weights that have changed since the freeze.

    PyTorch counts the writes into each tensor, so that looking costs next to nothing as long as there are none. Many
    writes change nothing, such as copying an online network to a target that shares its frozen layers; so after one the
    norm decides, and now and then without one.
    """

    def __init__(self) -> None:
        self._writes, self._checks = -1, 0
        self._norm: float | None = None

    @torch.no_grad()
    def check(self, weights: Iterable[Tensor]) -> None:
        """Compare weights with those at the first call.

        Raises:
            SettingError: their norm is another.
        """
        weights = list(weights)
        writes = sum(weight._version for weight in weights)
        self._checks += 1
        if writes == self._writes and self._checks % UNCOUNTED:
            return
        norm = sum(float(weight.double().square().sum()) for weight in weights) ** 0.5
        first = norm if self._norm is None else self._norm
        if not abs(norm - first) <= LARGEST_CHANGE * first:
            raise SettingError(
                f"the frozen weights have changed since the freeze (their norm was {first:.4g} and is {norm:.4g}), so "
                "stored latents are no longer theirs. Online and target share them: average with t.lerp_(p, tau), or "
                "over above_parameters() alone, not with t.mul_(1 - tau).add_(tau * p)"
            )
        self._norm, self._writes = first, writes
