"""Environments that show pixels, all behind the one interface of `PixelEnvironment`."""

from seer.environments.atari import AtariEnvironment, known_atari_games, make_atari
from seer.environments.pixel import PixelEnvironment

__all__ = ["AtariEnvironment", "PixelEnvironment", "known_atari_games", "make_atari"]
try:
    from seer.environments.dm_control import make_dm_control
except ImportError:
    make_dm_control = None
