"""The replay: a ring of observations in one fixed block of memory, as frames first and as latents later."""

from seer.replay.arena import Arena, RowFormat
from seer.replay.codec import LATENT_DTYPES, LatentError
from seer.replay.pieces import Piece
from seer.replay.replay import Batch, Padding, Replay
from seer.replay.samplers import Prioritized, Sampler, Uniform
from seer.replay.steps import ActionFormat
from seer.replay.streams import Streams
from seer.replay.transcode import Transcoding

__all__ = [
    "LATENT_DTYPES",
    "ActionFormat",
    "Arena",
    "Batch",
    "LatentError",
    "Padding",
    "Piece",
    "Prioritized",
    "Replay",
    "RowFormat",
    "Sampler",
    "Streams",
    "Transcoding",
    "Uniform",
]
