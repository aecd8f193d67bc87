"""The replay: a ring of observations in one fixed block of memory, as frames first and as latents later."""

from seer.core.rows import LATENT_DTYPES, RowFormat
from seer.replay.batch import Batch
from seer.replay.buffer import Replay
from seer.replay.codec import LatentError
from seer.replay.file_block import FileBlock
from seer.replay.memory import Block, MemoryBlock
from seer.replay.multi_env import MultiEnvReplay
from seer.replay.samplers import Prioritized, Sampler, Uniform
from seer.replay.state import Piece
from seer.replay.transcode import Transcoding
from seer.replay.transitions import ActionFormat

__all__ = [
    "LATENT_DTYPES",
    "ActionFormat",
    "Batch",
    "Block",
    "FileBlock",
    "LatentError",
    "MemoryBlock",
    "MultiEnvReplay",
    "Piece",
    "Prioritized",
    "Replay",
    "RowFormat",
    "Sampler",
    "Transcoding",
    "Uniform",
]
