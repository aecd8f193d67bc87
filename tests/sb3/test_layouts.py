"""Layouts of observations, wrappers around them, and settings: samples beside those of Stable-Baselines3's buffer."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3 import DQN, HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecTransposeImage,
)

from seer.errors import SettingError

from .arcade import quiet
from .counted import JOYSTICK, PICTURE, compare, counted, learner

JOINTS = spaces.Box(-1, 1, (5,), np.float32)
MATRIX = spaces.Box(-1, 1, (4, 3), np.float32)
FLOATS = {"policy_kwargs": {"normalize_images": False}}


def picture(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def padded_with_zeros(env: gymnasium.Env[Any, Any]) -> Any:
    return Monitor(FrameStackObservation(env, 4, padding_type="zero"))


LAYOUTS: dict[str, tuple[Callable[[], VecEnv], int, dict[str, Any]]] = {
    "monitor inside": (lambda: VecFrameStack(VecMonitor(counted(2, wrap=lambda env: env)), 4), 4, {}),
    "transposed first": (lambda: VecFrameStack(VecTransposeImage(counted(2, space=picture(36, 40, 3))), 2), 2, {}),
    "channels first": (lambda: VecFrameStack(counted(space=picture(3, 36, 40)), 2), 2, {}),
    "stacked twice": (lambda: VecFrameStack(VecFrameStack(counted(), 2), 2), 2, {}),
    "zeros before": (lambda: counted(space=picture(36, 36), wrap=padded_with_zeros), 4, {}),
    "one key": (
        lambda: VecExtractDictObs(VecFrameStack(counted(space=spaces.Dict(p=PICTURE, j=JOINTS)), 2), "p"), 2, {}
    ),
    "two pictures": (
        lambda: VecFrameStack(counted(space=spaces.Dict(p=PICTURE, q=picture(40, 36, 3), j=JOINTS)), 2), 2, {}
    ),
    "kinds of numbers": (
        lambda: counted(2, space=spaces.Dict(p=PICTURE, m=MATRIX, t=spaces.Discrete(4), s=spaces.MultiBinary(3))), 1, {}
    ),
    "normalised": (lambda: counted(space=spaces.Box(0, 1, (3, 36, 36), np.float32)), 1, FLOATS),
    "whole episodes": (lambda: VecFrameStack(counted(actions=JOYSTICK), 3), 3, {"train_freq": (3, "episode")}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_are_those_of_stable_baselines3_in_both_phases(layout: str) -> None:
    make, stack, options = LAYOUTS[layout]
    model = learner(make(), **options)
    for freeze_at in (10**6, 50):
        model.learn(50, callback=quiet(freeze_at), reset_num_timesteps=False)
        assert model.replay_buffer.holds_latents is (freeze_at == 50)
        compare(model)
    assert (model.replay_buffer.frame_stack, model.replay_buffer.num_jumps) == (stack, 0)


def test_frames_joined_along_another_axis_than_the_first_are_refused_and_stored_whole_where_asked() -> None:
    """VecFrameStack joins what is no uint8 picture along its last axis."""
    sideways = spaces.Dict(p=PICTURE, m=MATRIX)
    for space, order, name in (
        (sideways, None, "'m' of the observation"),
        (picture(4, 36, 36), "last", "observations"),
    ):
        with pytest.raises(SettingError, match=f"joins {name} along the last axis.*'frame_stack': 1"):
            learner(VecFrameStack(counted(space=space), 4, channels_order=order)).learn(20, callback=quiet())
    model = learner(VecFrameStack(counted(space=sideways), 4), replay_buffer_kwargs={"frame_stack": 1})
    model.learn(60, callback=quiet(40))
    compare(model)


def test_numbers_beyond_float16_are_warned_of_when_they_come_and_at_the_freeze() -> None:
    space = spaces.Dict(p=PICTURE, j=spaces.Box(-2e5, 2e5, (5,), np.float32))
    model = learner(counted(space=space))
    beyond = pytest.warns(UserWarning, match="latents beyond 65,504")
    with beyond, pytest.warns(UserWarning, match="stored as float16 with an error of .* blurs what tells observations"):
        model.learn(60, callback=quiet(40, latent_dtype="float16"))
    assert model.replay_buffer.sample(100).observations.features.abs().max() == 65504


def test_her_is_refused_in_one_line() -> None:
    env = BitFlippingEnv(n_bits=4, continuous=False)
    model = DQN("MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, buffer_size=100, device="cpu")
    with pytest.raises(SettingError, match=r"needs replay_buffer_class=SeerReplayBuffer, passed to DQN"):
        model.learn(10, callback=quiet())


def test_a_buffer_larger_than_what_is_played_takes_only_what_is_written_to() -> None:
    """As Stable-Baselines3's; half of what is free is more than a test could take."""
    process, large = psutil.Process(), psutil.virtual_memory().available // 2
    model = learner(VecFrameStack(counted(), 4), buffer_size=large // PICTURE.low.size)
    before = process.memory_info().rss
    model.learn(40, callback=quiet(30))
    buffer = model.replay_buffer
    assert buffer.holds_latents
    assert large - PICTURE.low.size < buffer.num_bytes <= large
    taken = process.memory_info().rss - before
    assert taken < 0.1 * large


def test_a_picture_that_stable_baselines3_flattens_has_nothing_to_freeze_and_the_remedy_says_why() -> None:
    space = spaces.Dict(p=spaces.Box(0, 1, (36, 36, 1), np.uint8), j=JOINTS)
    with pytest.raises(
        SettingError, match=r"MultiInputPolicy with a picture that .* takes for one, uint8 from 0 to 255"
    ):
        learner(counted(space=space)).learn(30, callback=quiet(20))
