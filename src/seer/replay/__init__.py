"""The replay: a ring of observations in one fixed block of memory, as frames first and as latents later."""

from seer.replay.arena import Arena, RowFormat
from seer.replay.codec import LATENT_DTYPES, LatentError
from seer.replay.pieces import Piece
from seer.replay.replay import Batch, Replay
from seer.replay.samplers import Prioritized, Sampler, Uniform
from seer.replay.streams import Streams
from seer.replay.transcode import Transcoding

__all__ = [
    "LATENT_DTYPES",
    "Arena",
    "Batch",
    "LatentError",
    "Piece",
    "Prioritized",
    "Replay",
    "RowFormat",
    "Sampler",
    "Streams",
    "Transcoding",
    "Uniform",
]
