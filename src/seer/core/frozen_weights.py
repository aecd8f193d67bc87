"""Refuse frozen weights that have changed: every stored latent would be stale, and nothing else would show it."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from seer.errors import SettingError

LARGEST_CHANGE = 1e-3
"""Distance from the weights at the freeze, relative to their norm: above what rounding does, reached by an average over
shared weights after some forty updates."""

UNCOUNTED = 100
"""Checks from one look at the weights to the next: PyTorch doesn't count writes through `weight.data`."""


class FrozenWeights:
    """Refuse weights that have changed since the freeze.

    PyTorch counts the writes into each tensor, so that looking costs next to nothing as long as there are none. Many
    writes change nothing, such as copying an online network to a target that shares its frozen layers; so after one the
    distance decides, and now and then without one.
    """

    def __init__(self) -> None:
        self._writes, self._checks = -1, 0
        self._at_freeze: list[Tensor] = []

    @torch.no_grad()
    def check(self, weights: Iterable[Tensor]) -> None:
        """Compare weights with those at the first call.

        Raises:
            SettingError: they are others.
        """
        weights = list(weights)
        writes = sum(weight._version for weight in weights)
        self._checks += 1
        if writes == self._writes and self._checks % UNCOUNTED:
            return
        if not self._at_freeze:
            self._at_freeze = [weight.clone() for weight in weights]
        pairs = list(zip(weights, self._at_freeze, strict=True))
        moved = sum(float((now - then).double().square().sum()) for now, then in pairs) ** 0.5
        norm = sum(float(then.double().square().sum()) for _, then in pairs) ** 0.5
        if not moved <= LARGEST_CHANGE * norm:
            raise SettingError(
                f"the frozen weights have changed since the freeze (of norm {norm:.4g}, they moved by {moved:.4g}), "
                "so stored latents are no longer theirs. Online and target share them: load no others into either, and "
                "average with t.lerp_(p, tau), or over above_parameters() alone, not with t.mul_(1 - tau).add_(tau * p)"
            )
        self._writes = writes


def weights_digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of weights with their names, in the order given: saved states hold it, so it can't change."""
    digest = hashlib.sha256()
    for name, weight in weights:
        digest.update(name.encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
