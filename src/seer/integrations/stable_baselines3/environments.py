"""What wrappers of Stable-Baselines3 and Gymnasium say of an environment."""

from collections.abc import Iterator
from typing import Any

import gymnasium
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecMonitor
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from seer.errors import SettingError


def find_frame_stack(environment: VecEnv) -> int:
    """Return how many frames an observation is a stack of, if a wrapper of SB3's or Gymnasium's says so; else 1.

    Raises:
        SettingError: the model doesn't see the frames one after the other along the first axis.
    """
    for wrapper in _wrappers(environment):
        if isinstance(wrapper, VecFrameStack):
            _refuse_other_axes(wrapper.stacked_obs)
            return wrapper.stacked_obs.n_stack
    if all(environment.env_is_wrapped(gymnasium.wrappers.FrameStackObservation)):
        return int(environment.get_attr("stack_size")[0])
    return 1


def has_monitor(environment: VecEnv) -> bool:
    """Return whether the scores of games are reported."""
    is_monitored = any(isinstance(wrapper, VecMonitor) for wrapper in _wrappers(environment))
    return is_monitored or all(environment.env_is_wrapped(Monitor))


def _wrappers(environment: VecEnv) -> Iterator[VecEnvWrapper]:
    while isinstance(environment, VecEnvWrapper):
        yield environment
        environment = environment.venv


def _refuse_other_axes(stacked: StackedObservations[Any], name: str = "observations") -> None:
    """Refuse frames that VecFrameStack joins along an axis that isn't the model's first.

    The last axis becomes the first where SB3 transposes a picture, and is the first of a vector.
    """
    if isinstance(stacked.observation_space, gymnasium.spaces.Dict):
        for key, part in stacked.sub_stacked_observations.items():
            _refuse_other_axes(part, f"'{key}' of the observation")
        return
    space = stacked.stacked_observation_space
    assert isinstance(space, gymnasium.spaces.Box)
    is_transposed = is_image_space(space) and not is_image_space_channels_first(space)
    if not (stacked.channels_first or is_transposed or space.low.ndim == 1):
        raise SettingError(
            f"VecFrameStack joins {name} along the last axis, {space.shape}: channels_order='first' joins frames along "
            "the first, or replay_buffer_kwargs={'frame_stack': 1} stores whole observations"
        )
