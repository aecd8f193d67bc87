"""How stored rows make up an observation.

Axes: S stack, C channels, H height, W width, K crops, N latents per observation, L latent size.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import SettingError
from seer.replay.codec import Codec


@dataclass(frozen=True)
class Layout:
    """An observation as `stack` rows, of each of which one of `crops` parts is read and decoded."""

    row: RowFormat
    codec: Codec
    stack: int
    crops: int
    observation_shape: tuple[int, ...]

    @classmethod
    def of_frames(cls, frame: RowFormat, stack: int) -> Self:
        """Return the layout of rows that are frames `[C, H, W]`; an observation is `[S, C, H, W]`."""
        codec = Codec(frame.dtype, frame.dtype)
        return cls(frame, codec, stack=stack, crops=1, observation_shape=(stack, *frame.shape))

    @classmethod
    def of_latents(cls, latent: RowFormat, codec: Codec) -> Self:
        """Return the layout of rows that are latents `[K, N, L]`; an observation is `[N, L]`."""
        return cls(latent, codec, stack=1, crops=latent.shape[0], observation_shape=latent.shape[1:])


def refuse_other_stack(observation: Tensor, last: Tensor) -> None:
    """Refuse an observation `[S, C, H, W]` where sampling would give back another one.

    Args:
        last: the frame `[C, H, W]` stored before its newest.

    Raises:
        SettingError: the frame before its newest is another.
    """
    if len(observation) > 1 and not torch.equal(observation[-2], last.to(observation.device)):
        raise SettingError(
            "the observation isn't the last one shifted by one frame, oldest first: stack one frame a step; where "
            "an episode ends, say so by terminated or truncated, or call the replay's close()"
        )
