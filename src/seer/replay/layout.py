"""How stored rows make up an observation.

Axes: S stack, C channels, H height, W width, K crops, N latents per observation, L latent size.
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import SettingError
from seer.replay.codec import Codec

Padding = Literal["repeat", "zero"]
"""What fills the stack of an episode's first steps: its first frame, or black ones."""


@dataclass(frozen=True)
class Layout:
    """An observation as `stack` rows, of each of which one of `crops` parts is read and decoded.

    `padding` fills the stack where an episode has fewer rows.
    """

    row: RowFormat
    codec: Codec
    stack: int
    crops: int
    observation_shape: tuple[int, ...]
    padding: Padding = "repeat"

    @classmethod
    def of_frames(cls, frame: RowFormat, stack: int, padding: Padding) -> Self:
        """Return the layout of rows that are frames `[C, H, W]`; an observation is `[S, C, H, W]`."""
        codec = Codec(frame.dtype, frame.dtype)
        return cls(frame, codec, stack=stack, crops=1, observation_shape=(stack, *frame.shape), padding=padding)

    @classmethod
    def of_latents(cls, latent: RowFormat, codec: Codec) -> Self:
        """Return the layout of rows that are latents `[K, N, L]`; an observation is `[N, L]`."""
        return cls(latent, codec, stack=1, crops=latent.shape[0], observation_shape=latent.shape[1:])


def refuse_other_stack(observation: Tensor, last: Tensor | None, padding: Padding) -> None:
    """Refuse an observation `[S, C, H, W]` where sampling would give back another one.

    Args:
        last: the frame `[C, H, W]` stored before its newest; None where it begins an episode.
        padding: what precedes the first frame then.

    Raises:
        SettingError: the frames before its newest are others.
    """
    *before, first = observation
    if last is not None:
        if before and not torch.equal(before[-1], last.to(first.device)):
            raise SettingError(
                "the observation isn't the last one shifted by one frame, oldest first: stack one frame a step; where "
                "an episode ends, say so by terminated or truncated, or call the replay's close()"
            )
        return
    fillers = {"repeat": first, "zero": torch.zeros_like(first)}
    found = [name for name, filler in fillers.items() if all(torch.equal(frame, filler) for frame in before)]
    if found and padding not in found:
        raise SettingError(
            f"padding is {padding!r}, but an episode's first stack is padded by {found[0]!r}: make the "
            f"replay with padding={found[0]!r}"
        )
    if not found:
        raise SettingError(
            "an episode's first stack holds frames that weren't stored: reset the environment when an episode "
            "ends, or give those frames to the replay's prime()"
        )
