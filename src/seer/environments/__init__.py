"""Environments that show pixels, all behind the one interface of `PixelEnvironment`."""

from seer.environments.atari import AtariEnvironment, known_atari_games, make_atari
from seer.environments.dm_control import DMControlEnvironment, known_dm_control_tasks, make_dm_control
from seer.environments.generic import GymnasiumEnvironment, is_discrete, make_gymnasium
from seer.environments.pixel import PixelEnvironment
from seer.environments.processes import EnvironmentProcess, Outcome, play
from seer.environments.randomness import seed_shared

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
