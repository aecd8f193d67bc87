"""Steps that are added to the buffer by hand, before `learn`, and what is no step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import VecFrameStack

from seer.errors import SettingError

from .arcade import quiet
from .counted import JOYSTICK, compare, counted, learner


def demonstrate(model: Any, steps: int = 60) -> None:
    """Play at random and store that, as people do with Stable-Baselines3."""
    env = model.get_env()
    observation = env.reset()
    for _ in range(steps):
        action = np.array([env.action_space.sample() for _ in range(env.num_envs)])
        following, reward, done, infos = env.step(action)
        last = following.copy()
        for one in np.flatnonzero(done):
            last[one] = infos[one]["terminal_observation"]
        model.replay_buffer.add(observation, last, action, reward, done, infos)
        observation = following


def test_demonstrations_are_accepted_after_one_call_that_the_refusal_names(tmp_path: Path) -> None:
    """Before `learn`, after both were loaded, and into a new buffer of a frozen model."""
    model = learner(VecFrameStack(counted(2), 4))
    needed = r"to add or sample steps before that call its init_callback\(model\) first"
    with pytest.raises(SettingError, match=needed):
        demonstrate(model)
    quiet(100).init_callback(model)
    demonstrate(model)
    assert model.num_timesteps == 0
    compare(model)
    model.learn(120, callback=quiet(100))
    compare(model)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    for has_buffer in (True, False):
        loaded: Any = DQN.load(tmp_path / "model", env=VecFrameStack(counted(2, seed=1), 4), device="cpu")
        if has_buffer:
            loaded.load_replay_buffer(tmp_path / "buffer.pkl")
        with pytest.raises(SettingError, match=needed):
            demonstrate(loaded)
        quiet(100).init_callback(loaded)
        demonstrate(loaded)
        loaded.learn(20, callback=quiet(100), reset_num_timesteps=False)
        assert loaded.seer_frozen_at == 100
        assert loaded.replay_buffer.holds_latents
        compare(loaded)


def test_what_is_no_step_is_refused_in_one_line() -> None:
    model = learner(VecFrameStack(counted(2), 4))
    quiet(100).init_callback(model)
    good = {
        "obs": np.zeros((2, 4, 36, 36), np.uint8), "next_obs": np.zeros((2, 4, 36, 36), np.uint8),
        "action": np.array([0, 2]), "reward": np.zeros(2), "done": np.zeros(2, bool), "infos": [{}, {}],
    }  # fmt: skip
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (
        ({"action": np.array([0, 7])}, r"actions to store are \[0, 7\]: the space has 0 to 2"),
        ({"action": np.array([-1, 0])}, "the space has 0 to 2"),
        ({"action": np.array([1.7, 0])}, "the space has 0 to 2"),
        ({"obs": np.zeros((2, 36, 36, 4), np.uint8)}, r"the model's are \(4, 36, 36\): add those of model.get_env\(\)"),
        ({"obs": np.zeros((1, 4, 36, 36), np.uint8)}, r"each of the 2 environments, not \[1, 2\]"),
        ({"reward": np.zeros(1)}, r"each of the 2 environments, not \[1, 2\]"),
        ({"infos": [{}, {}, {}]}, r"each of the 2 environments, not \[2, 3\]"),
    )
    for wrong, complaint in wrongs:
        with pytest.raises(SettingError, match=complaint):
            model.replay_buffer.add(*(good | wrong).values())
    with pytest.raises(ValueError, match="reward is nan"):
        model.replay_buffer.add(*(good | {"reward": np.full(2, np.nan)}).values())
    model.replay_buffer.add(*good.values())


def test_actions_that_were_not_scaled_are_refused() -> None:
    """SAC learns from actions in [-1, 1], whatever the space."""
    model = learner(VecFrameStack(counted(actions=JOYSTICK), 3))
    quiet(60).init_callback(model)
    observation = model.get_env().reset()
    action = np.array([[0.5, 8.0]], np.float32)
    step = (np.zeros(1), np.ones(1, bool), [{}])
    with pytest.raises(
        SettingError, match=r"stores them scaled to \[-1, 1\]: give model.policy.scale_action\(action\)"
    ):
        model.replay_buffer.add(observation, observation, action, *step)
    model.replay_buffer.add(observation, observation, model.policy.scale_action(action), *step)
    np.testing.assert_allclose(model.replay_buffer.sample(1).actions[0], [0.25, 0.6], rtol=1e-6)
    model.learn(40, callback=quiet(60))
