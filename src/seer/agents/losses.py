"""Losses and targets: tensors in, tensor out.

Axes: B batch, A actions, Z atoms of the return distribution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def project_distribution(probabilities: Tensor, reward: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """Project the distribution of `reward + discount * Z` back onto the support (C51, Bellemare 2017, eq. 7).

    Args:
        probabilities: [B, Z] of the return from the next observation on.
        reward, discount: [B]; the discount is 0 where the episode truly ended.
        support: [Z] evenly spaced, ascending returns.

    Returns:
        [B, Z] probabilities. Each moved atom shares its mass among its two neighbours in proportion to closeness.
    """
    spacing = support[1] - support[0]
    moved = (reward[:, None] + discount[:, None] * support).clamp(support[0], support[-1])  # [B, Z]
    distance = (moved[:, :, None] - support).abs_()  # [B, Z moved, Z support]
    closeness = distance.div_(-spacing).add_(1).clamp_(min=0)
    return torch.bmm(probabilities[:, None], closeness).squeeze(1)


class CategoricalValue(nn.Module):
    """Represent values as distributions over Z fixed returns (C51, Bellemare et al. 2017)."""

    support: Tensor

    def __init__(self, *, num_atoms: int, minimum: float, maximum: float) -> None:
        super().__init__()
        self.register_buffer("support", torch.linspace(minimum, maximum, num_atoms))

    def expected(self, outputs: Tensor) -> Tensor:
        """Return Q-values [B, A] of head outputs [B, A, Z] (logits)."""
        return outputs.softmax(-1) @ self.support

    def error(self, outputs: Tensor, next_outputs: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """Return the cross-entropy [B] to the projected target; outputs and next_outputs are logits [B, Z]."""
        with torch.no_grad():
            target = project_distribution(next_outputs.softmax(-1), reward, discount, self.support)
        return -(target * F.log_softmax(outputs, -1)).sum(-1)

    def priority(self, error: Tensor) -> Tensor:
        """Return the priorities [B] of samples with these errors: the errors (Rainbow, Hessel et al. 2018)."""
        return error


class ScalarValue(nn.Module):
    """Represent values as plain Q-values, Z = 1, with the Huber loss of DQN (Mnih et al. 2015)."""

    def expected(self, outputs: Tensor) -> Tensor:
        """Return Q-values [B, A] of head outputs [B, A, 1]."""
        return outputs.squeeze(-1)

    def error(self, outputs: Tensor, next_outputs: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """Return the Huber errors [B] to `reward + discount * Q`; outputs and next_outputs are Q-values [B, 1]."""
        target = reward + discount * next_outputs.detach().squeeze(-1)
        return F.smooth_l1_loss(outputs.squeeze(-1), target, reduction="none")

    def priority(self, error: Tensor) -> Tensor:
        """Return the distances [B] to the target, |TD error| (Schaul et al. 2016), from the Huber errors."""
        return torch.where(error < 0.5, (2 * error).sqrt(), error + 0.5)
