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

    @classmethod
    def after_freeze(cls, *, frame_bytes: int, latent_bytes: int) -> "Phase":
        """The phase that the freeze leads to: a replay never shrinks, so larger latents leave it holding frames."""
        return cls.LATENTS if latent_bytes <= frame_bytes else cls.FROZEN_FRAMES
