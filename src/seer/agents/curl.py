"""CURL (Srinivas et al. 2020): SAC plus one contrastive loss between two crops of the same observation.

Axes: B batch, L latent size.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from seer.agents.sac import CRITIC, Metrics, Sac
from seer.networks.actor_critic import Bilinear
from seer.phase import Phase
from seer.replay import Batch


def info_nce(similarities: Tensor) -> Tensor:
    """Cross-entropy of telling each query's own key, on the diagonal of [B, B], from the others' (Oord et al. 2018)."""
    return F.cross_entropy(similarities, torch.arange(len(similarities), device=similarities.device))


class Curl(Sac):
    """SAC whose encoder also learns to match the critic's latents of two crops of one observation.

    The query is the critic loss's own forward pass; keys come from the target encoder on another crop. The loss ends at
    the freeze, also where layers above the cut go on learning (docs/deviations.md 18).
    """

    extra_forwards = 1  # the target encoder's, for the keys

    def __init__(
        self,
        *sac: Any,
        similarity: Bilinear,
        make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        **settings: Any,
    ) -> None:
        self.similarity = similarity
        super().__init__(*sac, make_optimizer=make_optimizer, **settings)
        self.optimizers["similarity"] = make_optimizer(similarity.parameters())

    def auxiliary_loss(self, batch: Batch, queries: Tensor) -> Metrics:
        """CURL's loss on the critic's latents [B, L], while the encoder learns (Srinivas et al. 2020, eq. 4)."""
        if self.phase is not Phase.FRAMES:
            return {}
        target = self.target.encoder
        with torch.no_grad():
            keys = target(target.pixels(self._crop(batch.now)))[CRITIC]
        return {"contrastive_loss": info_nce(self.similarity(queries, keys))}

    def freeze(self, phase: Phase) -> None:
        """As SAC, and the contrastive loss ends."""
        super().freeze(phase)
        del self.optimizers["similarity"]

    def renewed(self, fresh: Any, *, encoder: bool) -> list[tuple[nn.Module, nn.Module]]:
        """As SAC, and the similarity with the encoder whose latents it compares."""
        return super().renewed(fresh, encoder=encoder) + ([(self.similarity, fresh.similarity)] if encoder else [])

    def modules(self) -> dict[str, nn.Module]:
        """SAC's, and the similarity."""
        return super().modules() | {"similarity": self.similarity}
