"""Where a run stands with its freeze."""

from enum import StrEnum


class Phase(StrEnum):
    """What learns and what the replay holds; explicit and checkpointed, never guessed from a batch."""

    FRAMES = "frames"
    """The encoder learns; the replay holds frames."""
    LATENTS = "latents"
    """The encoder is frozen; the replay holds its latents."""
    FROZEN_FRAMES = "frozen-frames"
    """The encoder is frozen; the replay still holds frames, because latents would be larger."""
