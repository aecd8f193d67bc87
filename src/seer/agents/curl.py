"""CURL (Srinivas et al. 2020): SAC plus one contrastive loss between two crops of the same observation.

Axes: B batch, F feature size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.agents.actor_critic import CRITIC, Metrics
from seer.agents.optimizers import MakeOptimizer
from seer.agents.sac import Sac
from seer.core.flops import Passes
from seer.core.phase import Phase
from seer.networks.actor_critic import Bilinear
from seer.replay import Batch


def info_nce(similarities: Tensor) -> Tensor:
    """Return the cross-entropy of telling each query's own key from the others' (Oord et al. 2018).

    Own ones stand on the diagonal of the similarities [B queries, B keys].
    """
    return F.cross_entropy(similarities, torch.arange(len(similarities), device=similarities.device))


class Curl(Sac):
    """Learn as SAC, with an encoder that also learns to match the critic's features of two crops of one observation.

    Queries are the critic's features after the critic's step, keys the target encoder's of another crop. The loss ends
    at the freeze, also where layers above the cut go on learning (docs/deviations.md 18).

    Of --contrastive-steps, 2 are those of the optimisers of the critic's step and "contrastive", which holds the
    similarity too, as in CURL's published code; 1 is that of the last alone.
    """

    ends_at_freeze = (*Sac.ends_at_freeze, "contrastive")

    def __init__(self, *sac: Any, similarity: Bilinear, make_optimizer: MakeOptimizer, **parts: Any) -> None:
        self.similarity = similarity
        super().__init__(*sac, make_optimizer=make_optimizer, **parts)
        trained, _ = self.split(self.online.encoder.parameters())
        self.optimizers["contrastive"] = make_optimizer([*trained, *similarity.parameters()])

    @property
    def has_auxiliary_loss(self) -> bool:
        """Tell whether the contrastive loss trains the encoder: until the freeze."""
        return self.phase is Phase.FRAMES

    def improve_encoder(self, batch: Batch, queries: Tensor) -> Metrics:
        """Take the steps of CURL's loss on the critic's features [B, F] (Srinivas et al. 2020, eq. 4)."""
        with torch.no_grad():
            keys = self.target.encoder.embed_one(self.online.encoder.prepare(batch.now), CRITIC)
        size = len(self.similarity.weight)  # of what is seen: vectors behind it are the same in both crops
        loss = info_nce(self.similarity(queries[:, :size], keys[:, :size]))
        # Of "critic" only layers above a cut have gradients here; the heads have none and stay as they are.
        others = ("critic", "encoder") if self.settings.contrastive_steps == 2 else ()
        self._descend(loss, optimizers=("contrastive", *others))
        return {"contrastive_loss": loss.detach()}

    def _passes_of_encoder(self, share: float) -> Passes:
        """Return SAC's passes, with one for the queries, which the actor shares, one for the keys, and one backward."""
        del share
        return Passes(5, 2)

    def modules(self) -> dict[str, nn.Module]:
        return super().modules() | {"similarity": self.similarity}
