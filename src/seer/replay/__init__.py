"""The replay: a ring of observations in one fixed block of memory, as frames first and as latents later."""

from seer.replay.buffer import Batch, Padding, Replay
from seer.replay.codec import LATENT_DTYPES, LatentError
from seer.replay.memory import Arena, RowFormat
from seer.replay.multi_env import Streams
from seer.replay.samplers import Prioritized, Sampler, Uniform
from seer.replay.state import Piece
from seer.replay.transcode import Transcoding
from seer.replay.transitions import ActionFormat

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
