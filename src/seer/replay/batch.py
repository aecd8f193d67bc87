"""What sampling the replay gives.

Axes: B batch, S stack, C channels, H height, W width, N latents per observation, L latent size, A actions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B sampled n-step transitions; tensors are on the device of the replay's memory.

    m is the number of steps until the window of n is full or the episode ends.

    Attributes:
        now: frames `[B, S, C, H, W]` uint8, or latents `[B, N, L]` float32: the observation at t.
        action: `[B]` int64 or `[B, A]` float32: taken at t.
        reward: `[B]` float32: sum of discount^k r_{t+k} over k < m.
        next: like `now`: the observation at t+m; without meaning after a true end.
        discount: `[B]` float32: discount^m, or 0 after a true end.
        weight: `[B]` float32: importance weights, the largest of a batch is 1.
        index: `[B]` int64: ids of the rows, for `Replay.update_priorities`.
    """

    now: Tensor
    action: Tensor
    reward: Tensor
    next: Tensor
    discount: Tensor
    weight: Tensor
    index: NDArray[np.int64]
