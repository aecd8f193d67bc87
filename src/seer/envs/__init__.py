"""Environments that show pixels, all behind the one interface of `PixelEnvironment`."""

from seer.envs.atari import AtariEnvironment, known_atari_games, make_atari
from seer.envs.base import PixelEnvironment
from seer.envs.dm_control import DMControlEnvironment, known_dm_control_tasks, make_dm_control
from seer.envs.gymnasium import GymnasiumEnvironment, is_discrete, make_gymnasium
from seer.envs.randomness import seed_shared
from seer.envs.vector import EnvironmentProcess, Outcome, play

__all__ = [
    "AtariEnvironment",
    "DMControlEnvironment",
    "EnvironmentProcess",
    "GymnasiumEnvironment",
    "Outcome",
    "PixelEnvironment",
    "is_discrete",
    "known_atari_games",
    "known_dm_control_tasks",
    "make_atari",
    "make_dm_control",
    "make_gymnasium",
    "play",
    "seed_shared",
]
