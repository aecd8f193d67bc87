"""Models and buffers of Stable-Baselines3 saved, loaded, and trained on."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN

from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerCallback, SeerReplayBuffer

from .arcade import all_transitions, arcade, encode_slowly, extractor_state, model, quiet, sampled, trained, which


@pytest.mark.parametrize("algorithm", ["DQN", "SAC"])
def test_a_saved_model_predicts_the_same_and_stays_frozen_when_it_goes_on(algorithm: str, tmp_path: Path) -> None:
    learner = trained(algorithm)
    learner.save(tmp_path / "model")
    loaded = type(learner).load(tmp_path / "model", env=arcade(continuous=algorithm == "SAC"), device="cpu")
    observations = learner.replay_buffer.plain.observations[:30, 0]
    expected, _ = learner.predict(observations, deterministic=True)
    predicted, _ = loaded.predict(observations, deterministic=True)
    np.testing.assert_array_equal(predicted, expected)
    before, frozen = loaded.policy.state_dict(), extractor_state(loaded)
    before = {name: value.clone() for name, value in before.items()}
    loaded.learn(30, callback=quiet(), reset_num_timesteps=False)  # starts to learn with one step in the buffer
    assert loaded.seer_frozen_at == 40
    assert loaded.replay_buffer.holds_latents
    after = loaded.policy.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert any(not torch.equal(after[name], value) for name, value in before.items())
    agree = which(sampled(loaded.replay_buffer), all_transitions(loaded.replay_buffer, encode_slowly(loaded)))
    assert agree.any(1).all()


def test_a_saved_model_needs_nothing_of_seer_to_predict(frozen_dqn: Any, tmp_path: Path) -> None:
    """Its weights are under the names that SB3 knows, and fit its own classes."""
    frozen_dqn.save(tmp_path / "model")
    plain = DQN.load(tmp_path / "model", device="cpu", custom_objects={"replay_buffer_class": None})
    observations = frozen_dqn.replay_buffer.plain.observations[:30, 0]
    np.testing.assert_array_equal(
        plain.predict(observations, deterministic=True)[0], frozen_dqn.predict(observations, deterministic=True)[0]
    )


@pytest.mark.parametrize("freeze_at", [1000, 40])
def test_a_saved_buffer_comes_back_with_the_same_samples(freeze_at: int, tmp_path: Path) -> None:
    learner = trained("DQN", env=arcade(num_envs=2), freeze_at=freeze_at)
    buffer = learner.replay_buffer
    learner.save(tmp_path / "model")
    learner.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = DQN.load(tmp_path / "model", env=arcade(num_envs=2), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert loaded.replay_buffer.num_added == loaded.replay_buffer.num_held == buffer.num_added > 0
    loaded.learn(2, callback=quiet(freeze_at), reset_num_timesteps=False)
    again = loaded.replay_buffer
    assert (again.holds_latents, again.num_bytes) == (freeze_at == 40, buffer.num_bytes)
    assert again.pos > buffer.pos
    encode = encode_slowly(loaded) if again.holds_latents else None
    agree = which(sampled(again), all_transitions(again, encode))
    assert agree.any(1).all()
    assert agree.any(0).view(2, -1)[:, :-1].all()


def test_a_buffer_file_holds_what_is_stored_and_no_more(tmp_path: Path) -> None:
    learner = model("DQN", buffer_size=5000, replay_buffer_class=SeerReplayBuffer)
    learner.learn(50, callback=quiet())
    learner.save_replay_buffer(tmp_path / "buffer.pkl")
    assert (tmp_path / "buffer.pkl").stat().st_size < 1.2 * 84 * 84 * learner.replay_buffer.pos


def test_features_of_another_model_are_refused(frozen_dqn: Any, tmp_path: Path) -> None:
    frozen_dqn.save_replay_buffer(tmp_path / "buffer.pkl")
    other = trained("DQN", env=arcade(num_envs=2), seed=1)
    other.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(SettingError, match="features of another model"):
        other.learn(10, callback=quiet(), reset_num_timesteps=False)
    never = model("DQN", arcade(num_envs=2))
    never.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(SettingError, match="never frozen"):
        never.learn(10, callback=quiet())
    with pytest.raises(SettingError, match="pass callback=SeerCallback"):
        never.learn(10)


def test_parameters_set_under_stored_features_are_refused() -> None:
    learner = trained("DQN")
    same = copy.deepcopy(learner.get_parameters())
    learner.set_parameters(same)
    learner.learn(2, callback=quiet(), reset_num_timesteps=False)
    learner.set_parameters(model("DQN", seed=1).get_parameters())
    with pytest.raises(SettingError, match=r"features of another model.*don't call set_parameters after the freeze"):
        learner.learn(2, callback=quiet(), reset_num_timesteps=False)


def test_a_loaded_model_says_when_it_was_frozen_and_takes_a_buffer_of_as_many_environments(
    frozen_dqn: Any, tmp_path: Path, capsys: Any
) -> None:
    frozen_dqn.save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=arcade(num_envs=2), device="cpu")
    loaded.learn(2, callback=SeerCallback(1000))
    assert "frozen at step 40; the replay is empty" in capsys.readouterr().out
    frozen_dqn.save_replay_buffer(tmp_path / "buffer.pkl")
    other = DQN.load(tmp_path / "model", env=arcade(), device="cpu", force_reset=True)
    other.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(SettingError, match="of 2 environments, the model of 1"):
        other.learn(2, callback=quiet())


def test_a_model_can_be_loaded_without_its_buffer(tmp_path: Path) -> None:
    """As the documentation says, for where seer isn't installed."""
    learner = trained("DQN", replay_buffer_kwargs={"frame_stack": 4})
    learner.save(tmp_path / "model")
    plain = {"replay_buffer_class": None, "replay_buffer_kwargs": {}, "buffer_size": 1}
    loaded = DQN.load(tmp_path / "model", device="cpu", custom_objects=plain)
    observation = arcade().reset()
    assert (
        loaded.predict(observation, deterministic=True)[0] == learner.predict(observation, deterministic=True)[0]
    ).all()
