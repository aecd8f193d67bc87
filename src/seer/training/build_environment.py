"""Build the environments of a config."""

import functools
from collections.abc import Callable

import numpy as np

from seer.agents.registry import AGENTS
from seer.config import Config
from seer.envs.base import PixelEnvironment
from seer.envs.registry import Channels, EnvOptions, suite_of
from seer.envs.vector import EnvironmentProcess
from seer.registry import resolve


def build_environment(config: Config, *, training: bool) -> PixelEnvironment:
    """Return an environment of a run.

    Atari: life by life with clipped rewards for training, whole games for evaluation. Others: the same for both.
    """
    environment = environment_maker(config, training=training)()
    environment.time_limit = config.env_timeout
    return environment


def build_others(config: Config) -> list[EnvironmentProcess]:
    """Return all environments of a run but the first, each with an episode under way."""
    make = environment_maker(config, training=True)
    # Not [seed, 0]: NumPy pads with zeros, so that would be the sequence of the run's own seeds.
    seeds = np.random.SeedSequence([config.seed, 0, 1]).generate_state(config.num_envs - 1)
    others = [EnvironmentProcess(make, time_limit=config.env_timeout, seed=int(seed)) for seed in seeds]
    for other in others:
        other.wait()
    return others


def environment_maker(config: Config, *, training: bool) -> Callable[[], PixelEnvironment]:
    """Return a function that makes an environment, here or in another process."""
    image = config.image
    options = EnvOptions(
        size=image.size,
        stack=image.stack,
        action_repeat=image.action_repeat,
        channels=shown_channels(config),
        render_pixels=image.render_pixels,
        cameras=image.cameras,
        vectors=image.vectors,
        kwargs=config.env_kwargs,
        sticky_actions=config.sticky_actions,
        full_action_space=config.full_action_space,
    )
    make = functools.partial(resolve(suite_of(config.env).make), config.env, options, training=training)
    return functools.partial(_make_limited, make, config.max_episode_steps)


def _make_limited(make: Callable[[], PixelEnvironment], max_episode_steps: int | None) -> PixelEnvironment:
    environment = make()
    if max_episode_steps is not None:
        environment.max_episode_steps = max_episode_steps
    return environment


def shown_channels(config: Config) -> Channels:
    """Return the channels of the pictures: as the suite prescribes, as the settings say, or as the agent sees best."""
    suite, channels = suite_of(config.env), config.image.channels
    if suite.own_protocol:
        return suite.channels
    return AGENTS[config.agent].channels if channels == "auto" else channels
