"""The returns of several steps beside those of Stable-Baselines3's `NStepReplayBuffer`, on random episodes."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecFrameStack

from .arcade import quiet
from .counted import compare, counted, learner

pytestmark = pytest.mark.filterwarnings("ignore:`n_steps=3` is ignored")


@pytest.mark.parametrize("rows", [2000, 70])
def test_every_return_of_three_steps_is_that_of_stable_baselines3_in_both_phases(rows: int) -> None:
    """Three environments whose episodes of 1 to 12 steps end or are cut; rings of 70 rows are overwritten."""
    features = {"features_extractor_kwargs": {"features_dim": 300}}
    env = VecFrameStack(counted(3), 4)
    model = learner(env, n_steps=3, buffer_size=3 * rows, policy_kwargs=features)
    for freeze_at in (10**6, 240):
        model.learn(240, callback=quiet(freeze_at), reset_num_timesteps=False)
        compare(model, newest=15 if rows == 70 else 2000)
    assert model.replay_buffer.holds_latents
    assert model.replay_buffer.full is (rows == 70)


def test_without_time_limits_of_their_own_cut_episodes_have_ended() -> None:
    kwargs = {"handle_timeout_termination": False}
    model = learner(VecFrameStack(counted(), 4), n_steps=3, replay_buffer_kwargs=kwargs)
    for freeze_at in (10**6, 100):
        model.learn(100, callback=quiet(freeze_at), reset_num_timesteps=False)
        compare(model)
    assert not model.replay_buffer.plain.timeouts.any()


def test_a_saved_and_loaded_model_goes_on_with_its_n_steps(tmp_path: Any) -> None:
    model = learner(VecFrameStack(counted(), 4), n_steps=3)
    model.learn(60, callback=quiet(10**6))
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", env=VecFrameStack(counted(), 4), device="cpu")
    loaded.learn(60, callback=quiet(120), reset_num_timesteps=False)
    compare(loaded)
    assert loaded.replay_buffer.n_steps == 3
    discounts = loaded.replay_buffer.sample(500).discounts
    np.testing.assert_allclose(np.unique(discounts.numpy().round(3)), [0, 0.729, 0.81, 0.9], atol=1e-6)
