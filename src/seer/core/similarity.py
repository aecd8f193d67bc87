"""How alike two layers are, by their activations on the same samples: SVCCA and linear CKA.

Both ask whether one layer's activations are a linear map of the other's, so that neither the order of units nor their
scale matters; they need nothing of the samples but their covariances, which are summed up chunk by chunk.

Axes: B samples, P and Q units of the two layers.
"""

import torch
from torch import Tensor

KEPT_VARIANCE = 0.99
"""Share of the variance that SVCCA keeps (Raghu et al. 2017, section 2)."""

SAMPLES_PER_UNIT = 4
"""Least samples of a comparison per unit: SVCCA of few is close to 1 whatever they are (of 64 independent samples of 50
units each, 0.77), and few raise CKA too."""


class Covariances:
    """Sums over paired samples of two layers, in float64, from which their covariances follow."""

    def __init__(self) -> None:
        self.count = 0
        self._shift: tuple[Tensor, Tensor] | None = None  # taken off every sample, or large means would eat the digits
        self._sums: list[Tensor] = []

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add samples of both layers, [B, P] and [B, Q]: row by row the same ones."""
        left, right = left.double(), right.double()
        if self._shift is None:
            self._shift = left.mean(0), right.mean(0)
        left, right = left - self._shift[0], right - self._shift[1]
        terms = [left.sum(0), right.sum(0), left.T @ left, right.T @ right, left.T @ right]
        self._sums = [a + b for a, b in zip(self._sums, terms, strict=True)] if self._sums else terms
        self.count += len(left)

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the covariance of the left layer [P, P], of the right one [Q, Q], and of left and right [P, Q]."""
        left, right, *products = (total / self.count for total in self._sums)
        means = torch.outer(left, left), torch.outer(right, right), torch.outer(left, right)
        of_left, of_right, across = (product - mean for product, mean in zip(products, means, strict=True))
        return of_left, of_right, across


def linear_cka(covariances: Covariances) -> float:
    """Return linear CKA in [0, 1] (Kornblith et al. 2019, section 3).

    It is nan where a layer is the same for every sample. Nothing changes if a layer is rotated, shifted or scaled as a
    whole. Biased towards 1 by few samples.
    """
    of_left, of_right, across = covariances.matrices()
    return float(across.square().sum() / (of_left.norm() * of_right.norm()))


def svcca(covariances: Covariances) -> float:
    """Return SVCCA in [0, 1] (Raghu et al. 2017): mean canonical correlation of the two layers' main directions.

    Main are the fewest principal directions that explain 99 % of a layer's variance. Nothing changes if a layer is
    rotated, shifted or scaled as a whole; with no more samples than directions it is always 1. nan as for CKA.
    """
    of_left, of_right, across = covariances.matrices()
    left, right = _whitening(of_left), _whitening(of_right)
    if left.numel() == 0 or right.numel() == 0:
        return float("nan")
    correlations = torch.linalg.svdvals(left.T @ across @ right).clamp(max=1)
    return float(correlations.mean())


def num_directions(covariances: Covariances) -> int:
    """Return how many principal directions of both layers SVCCA correlates; far more samples than that are needed."""
    of_left, of_right, _ = covariances.matrices()
    return _whitening(of_left).shape[1] + _whitening(of_right).shape[1]


def effective_rank(activations: Tensor, *, kept: float = 0.99) -> int:
    """Return how many singular values of activations [B, P] sum to `kept` of all (srank, Kumar et al. 2021, section 3).

    The largest are taken first.
    """
    values = torch.linalg.svdvals(activations.double())
    total = values.sum()
    return int((values.cumsum(0) < kept * total).sum()) + 1 if total > 0 else 0


def dormant_share(activations: Tensor, *, threshold: float = 0.025) -> float:
    """Return the share of units whose mean absolute activation is at most `threshold` of the layer's mean, of [B, P].

    (Sokar et al. 2023, definition 3.1; a layer that is silent altogether is dormant.)
    """
    size = activations.abs().mean(0)
    return float((size <= threshold * size.mean()).double().mean())


def _whitening(covariance: Tensor) -> Tensor:
    """Return [P, k], which maps centred samples to their k main principal directions, each of variance 1."""
    varying = covariance.diagonal() > 0  # LAPACK may not converge where hundreds of units are dead
    variances, directions = torch.linalg.eigh(covariance[varying][:, varying])
    variances, directions = variances.flip(0).clamp(min=0), directions.flip(1)
    total = variances.sum()
    count = int((variances.cumsum(0) < KEPT_VARIANCE * total).sum()) + 1 if total > 0 else 0
    whitening = covariance.new_zeros(len(covariance), count)
    whitening[varying] = directions[:, :count] / variances[:count].sqrt()
    return whitening
