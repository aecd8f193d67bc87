"""How people use Stable-Baselines3: several calls of `learn`, wrappers, the example and the documentation's script."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerReplayBuffer
from seer.integrations.stable_baselines3.extractors import StoredFeatures
from seer.integrations.stable_baselines3.packing import ObservationPacker

from .arcade import Twin, all_transitions, arcade, encode_slowly, extractor_state, model, quiet, sampled, trained, which


def test_a_second_call_of_learn_begins_anew_or_goes_on_and_no_step_spans_the_reset() -> None:
    learner = model("DQN")
    for freeze_at, reset in ((1000, True), (1000, True), (1000, False), (30, True), (30, True), (30, False)):
        learner.learn(31, callback=quiet(freeze_at), reset_num_timesteps=reset)
    buffer = learner.replay_buffer
    agree = which(sampled(buffer, 1500), all_transitions(buffer, encode_slowly(learner)))
    assert agree.any(1).all()
    assert agree.any(0)[:-1].all()


class Stop(BaseCallback):
    """Once in every 17 steps."""

    def _on_step(self) -> bool:
        return self.n_calls % 17 != 0


def test_a_callback_that_stops_learning_costs_no_step() -> None:
    """SB3 has then played a step that it doesn't store, and goes on with the observation before it."""
    learner = model("DQN")
    learner.learn(40, callback=[quiet(1000), Stop()])
    for _ in range(2):
        with pytest.warns(UserWarning, match="shifted by one frame, so it was stored whole"):
            learner.learn(40, callback=[quiet(1000), Stop()], reset_num_timesteps=False)
    buffer = learner.replay_buffer
    agree = which(sampled(buffer, 1500), all_transitions(buffer))
    assert agree.any(1).all()
    assert agree.any(0)[:-1].all()  # but for the newest
    assert buffer.plain.pos == buffer.num_added == buffer.num_held == 3 * 16
    assert buffer.num_jumps == 2  # one for each time it was called again


def test_freeze_at_the_first_step_reached_when_steps_come_four_at_a_time() -> None:
    learner = model("DQN", arcade(num_envs=4))
    learner.learn(40, callback=quiet(30))
    assert learner.seer_frozen_at == 32


def test_freeze_at_0_is_before_the_first_step() -> None:
    learner = model("DQN")
    start = extractor_state(learner)
    learner.learn(40, callback=quiet(0))
    assert learner.seer_frozen_at == 0
    frozen = learner.policy.state_dict()
    assert all(torch.equal(frozen[n], v) for n, v in start.items() if n.startswith("q_net."))
    assert learner.replay_buffer.row_bytes == 16 * 4


class Restacked(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Says nothing about stacking, and its observations aren't stacks."""

    def observation(self, observation: Any) -> Any:
        return np.random.default_rng(int(observation.sum())).integers(256, size=observation.shape, dtype=np.uint8)


def test_observations_that_are_no_stacks_are_stored_whole_and_refused_where_stacks_were_promised() -> None:
    def noise() -> Any:
        inner = arcade(stack=1).envs[0]  # type: ignore[attr-defined]
        return DummyVecEnv([lambda: Restacked(inner)])

    whole = model("DQN", noise())
    whole.learn(30, callback=quiet(25))
    assert whole.replay_buffer.frame_stack == 1
    space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    buffer = SeerReplayBuffer(100, space, gymnasium.spaces.Discrete(2), device="cpu", frame_stack=4)
    buffer.prepare(4)
    rng = np.random.default_rng(0)

    def add() -> None:
        now, after = rng.integers(256, size=(2, 1, 4, 84, 84), dtype=np.uint8)
        buffer.add(now, after, np.array([0]), np.array([0.0]), np.array([False]), [{}])

    for _ in range(2):  # a few may be an accident
        with pytest.warns(UserWarning, match="stored whole, in up to 7 rows more"):
            add()
    with pytest.raises(SettingError, match="'frame_stack': 1"):
        add()


def test_gymnasiums_frame_stack_repeats_its_first_frame_and_needs_no_row_for_it() -> None:
    class Flat(gymnasium.ObservationWrapper[Any, Any, Any]):
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Box(0, 255, (84, 84), np.uint8)

        def observation(self, observation: Any) -> Any:
            return observation[..., 0]

    inner = arcade(stack=1).envs[0]  # type: ignore[attr-defined]
    env = DummyVecEnv([lambda: gymnasium.wrappers.FrameStackObservation(Flat(inner), 4)])
    learner = model("DQN", env)
    learner.learn(60, callback=quiet(1000))
    buffer = learner.replay_buffer
    assert buffer.frame_stack == 4
    assert buffer.pos == 60 + int(buffer.plain.timeouts.sum())
    agree = which(sampled(buffer), all_transitions(buffer))
    assert agree.any(1).all()
    assert agree.any(0)[:-1].all()


def test_rewards_are_normalised_as_vec_normalize_says_and_observations_may_not_be() -> None:
    learner = model("DQN", VecNormalize(VecTransposeImage(arcade()), norm_obs=False))
    learner.learn(50, callback=quiet())
    batch = learner.replay_buffer.sample(50, env=learner.get_vec_normalize_env())
    raw = learner.replay_buffer.plain.rewards[: learner.replay_buffer.plain.pos]
    expected = learner.get_vec_normalize_env().normalize_reward(raw)
    assert np.isin(batch.rewards.numpy().round(5), expected.astype(np.float32).round(5)).all()
    refused = model("DQN", VecNormalize(VecTransposeImage(arcade())), policy_kwargs={"normalize_images": False})
    with pytest.raises(SettingError, match="norm_obs=False"):
        refused.learn(10, callback=quiet())


def test_stored_features_have_the_length_of_their_batch(frozen_dqn: Any) -> None:
    batch = frozen_dqn.replay_buffer.sample(5)
    assert isinstance(batch.observations, StoredFeatures)
    assert len(batch.observations) == 5


def test_reset_empties_the_buffer_in_its_phase() -> None:
    learner = trained("DQN")
    buffer: Twin = learner.replay_buffer
    size = buffer.buffer_size
    buffer.reset()
    assert (buffer.pos, buffer.full, buffer.buffer_size, buffer.holds_latents) == (0, False, size, True)
    learner.learn(20, callback=quiet(), reset_num_timesteps=False)
    assert buffer.pos >= 20


def test_observations_of_any_byte_size_come_back_from_rows() -> None:
    """Numbers behind a picture of 85 x 85 bytes begin where no float32 could; of one row nothing else is in the way."""
    space = gymnasium.spaces.Dict(
        {
            "a picture": gymnasium.spaces.Box(0, 255, (1, 85, 85), np.uint8),
            "joints": gymnasium.spaces.Box(-1, 1, (7,), np.float32),
            "task": gymnasium.spaces.Discrete(4),
        }
    )
    space.seed(0)
    rows = ObservationPacker(space, 1)
    for count in (1, 3):
        drawn = [space.sample() for _ in range(count)]
        observations = {key: np.stack([np.atleast_1d(one[key]) for one in drawn]) for key in space.spaces}
        back = rows.unpack(torch.from_numpy(rows.pack(observations)))
        for key, values in observations.items():
            np.testing.assert_array_equal(back[key].numpy().reshape(values.shape), values)
    observations["joints"][0, 3] = np.nan
    with pytest.raises(SettingError, match="'joints' of the observation has numbers that aren't finite"):
        rows.pack(observations)


@pytest.mark.slow
def test_the_example_compares_both_arms(tmp_path: Path) -> None:
    script, out = Path(__file__).parents[2] / "examples" / "stable_baselines3_seer.py", tmp_path / "out"
    short = ("--steps", "240", "--freeze-at", "120", "--buffer", "240", "--learning-starts", "60", "--out", str(out))
    done = subprocess.run([sys.executable, script, *short], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, seer = (json.loads((out / f"{variant}.json").read_text()) for variant in ("plain", "seer"))
    assert seer["replay_bytes"] * 8 == plain["replay_bytes"]
    assert seer["rows"] > plain["rows"] == 240
    assert (out / "curves.png").stat().st_size > 5000
    wrong = subprocess.run(
        [sys.executable, script, *short[:-1], "x", "--env", "ALE/Pong-v5"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "name a game as PongNoFrameskip-v4" in wrong.stderr


def test_the_script_of_the_documentation_runs(capsys: Any) -> None:
    """As it stands there, but shorter."""
    page = (Path(__file__).parents[2] / "docs/quick_start/stable_baselines3.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    for long, short in (("1_000_000", "150"), ("100_000", "600"), ("50_000", "130")):
        assert long in script
        script = script.replace(long, short)
    exec(script, {})
    assert "convolutions frozen at step 130" in capsys.readouterr().out
