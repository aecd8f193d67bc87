"""What can't work inside Stable-Baselines3 is refused in one line, before the first step."""

import gc
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, VecTransposeImage

from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerCallback, SeerReplayBuffer

from .arcade import arcade, model, quiet


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"optimize_memory_usage": True}, "optimize_memory_usage=True: leave it out"),
        ({"replay_buffer_kwargs": {"n_steps": 0}}, "n_steps is 0"),
    ],
)
def test_a_buffer_that_cannot_be_is_refused_when_the_model_is_made(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        model("DQN", **options)


def test_a_space_without_pictures_is_refused() -> None:
    with pytest.raises(SettingError, match="needs image observations"):
        DQN("MlpPolicy", gymnasium.make("CartPole-v1"), replay_buffer_class=SeerReplayBuffer)


class Flattened(torch.nn.Flatten):
    """An extractor with nothing to learn."""

    def __init__(self, space: Any, features_dim: int) -> None:
        super().__init__()
        self.features_dim = int(np.prod(space.shape))


def test_what_the_callback_cannot_work_with_is_refused_before_the_first_step() -> None:
    def normalized() -> VecEnv:
        return VecNormalize(VecTransposeImage(arcade()), norm_obs=False)

    small, flat = {"features_extractor_kwargs": {"features_dim": 16}}, {"features_extractor_class": Flattened}
    cases = [
        (lambda: PPO("CnnPolicy", arcade(), device="cpu", policy_kwargs=small), quiet(), "PPO has no replay buffer"),
        (lambda: model("DQN", replay_buffer_class=None), quiet(), "replay_buffer_class=SeerReplayBuffer"),
        (lambda: model("DQN"), quiet(10), "learning_starts is 20"),
        (lambda: model("DQN", arcade(stack=1), policy_kwargs=flat), quiet(), "no features"),
        (lambda: model("DQN", DummyVecEnv([lambda: arcade(stack=1).envs[0].env])), quiet("auto"), "wrap .* in Monitor"),
        (lambda: model("DQN", buffer_size=250), quiet("auto"), "compares 256 observations, but buffer_size is 250"),
        (lambda: model("DQN"), quiet("auto", latest=10), "latest is 10, but learning_starts is 20"),
        (lambda: model("DQN", arcade(num_envs=2), buffer_size=10), quiet(), "5 rows for each .* give at least 12"),
        (lambda: model("DQN", normalized(), replay_buffer_kwargs={"n_steps": 3}), quiet(), "norm_reward=False"),
        (lambda: model("DQN", replay_buffer_kwargs={"n_steps": 3}, gamma=0.5), quiet(), "'n_steps': 3, 'gamma': 0.5"),
    ]
    for make, callback, complaint in cases:
        learner: Any = make()
        with pytest.raises(SettingError, match=complaint):
            learner.learn(100, callback=callback)
        assert learner.num_timesteps == 0
        gc.collect()  # so that the next takes the game of this one
    for nonsense in (-1, "soon", 0.5, True):
        with pytest.raises(SettingError, match=r"freeze_at .* is no step; give a whole number"):
            SeerCallback(nonsense)  # type: ignore[arg-type]
    for name, value in (("similarity", 99), ("patience", 0), ("earliest", -1), ("probe_every", 0), ("latest", 0)):
        with pytest.raises(SettingError, match=f"{name} is {value}"):
            SeerCallback("auto", **{name: value})  # type: ignore[arg-type]
    assert SeerCallback(np.int64(40)).freeze_at == 40  # type: ignore[arg-type]


def test_pictures_with_channels_last_are_refused_where_sb3_would_transpose_them_elsewhere() -> None:
    """VecNormalize inside: Stable-Baselines3 stores what is below its own VecTransposeImage."""
    learner = model("DQN", VecNormalize(arcade(), norm_obs=False), replay_buffer_class=SeerReplayBuffer)
    with pytest.raises(SettingError, match=r"VecNormalize\(VecTransposeImage"):
        learner.learn(10, callback=quiet())
