"""How people use Stable-Baselines3: saving, loading, going on, several calls of `learn`; and what is refused."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

from seer.core.freeze_rules import FreezeRule, StepMetrics
from seer.core.similarity import Covariances, linear_cka
from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerCallback, SeerReplayBuffer
from seer.integrations.stable_baselines3.extractors import StoredFeatures
from seer.integrations.stable_baselines3.rows import ObservationRows

from .arcade import Twin, all_transitions, arcade, model, sampled, which
from .test_freeze import encode_slowly, extractor_state, trained

Model = Any


def quiet(freeze_at: Any = 40, **options: Any) -> SeerCallback:
    return SeerCallback(freeze_at, verbose=0, **options)


@pytest.fixture(scope="module")
def frozen() -> Model:
    """A DQN 40 steps after its freeze, in two environments; tests only read it."""
    return trained("DQN", env=arcade(num_envs=2))


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


def test_a_saved_model_needs_nothing_of_seer_to_predict(frozen: Model, tmp_path: Path) -> None:
    """Its weights are under the names that SB3 knows, and fit its own classes."""
    frozen.save(tmp_path / "model")
    plain = DQN.load(tmp_path / "model", device="cpu", custom_objects={"replay_buffer_class": None})
    observations = frozen.replay_buffer.plain.observations[:30, 0]
    np.testing.assert_array_equal(
        plain.predict(observations, deterministic=True)[0], frozen.predict(observations, deterministic=True)[0]
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


def test_features_of_another_model_are_refused(frozen: Model, tmp_path: Path) -> None:
    frozen.save_replay_buffer(tmp_path / "buffer.pkl")
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


def test_what_the_callback_cannot_work_with_is_refused_before_the_first_step() -> None:
    normalized = VecNormalize(VecTransposeImage(arcade()), norm_obs=False)
    cases = [
        (PPO("CnnPolicy", arcade(), device="cpu"), quiet(), "PPO has no replay buffer"),
        (model("DQN", replay_buffer_class=None), quiet(), "replay_buffer_class=SeerReplayBuffer"),
        (model("DQN"), quiet(10), "learning_starts is 20"),
        (model("DQN", arcade(stack=1), policy_kwargs={"features_extractor_class": Flattened}), quiet(), "no features"),
        (model("DQN", DummyVecEnv([lambda: arcade(stack=1).envs[0].env])), quiet("auto"), "wrap .* in Monitor"),  # type: ignore[attr-defined]
        (model("DQN", buffer_size=250), quiet("auto"), "compares 256 observations, but buffer_size is 250"),
        (model("DQN"), quiet("auto", latest=10), "latest is 10, but learning_starts is 20"),
        (model("DQN", arcade(num_envs=8), buffer_size=40), quiet(), "5 rows for each .* give at least 48"),
        (model("DQN", normalized, replay_buffer_kwargs={"n_steps": 3}), quiet(), "norm_reward=False"),
        (model("DQN", replay_buffer_kwargs={"n_steps": 3}, gamma=0.5), quiet(), "'n_steps': 3, 'gamma': 0.5"),
    ]  # fmt: skip
    for learner, callback, complaint in cases:
        with pytest.raises(SettingError, match=complaint):
            learner.learn(100, callback=callback)
        assert learner.num_timesteps == 0
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


class Flattened(torch.nn.Flatten):
    """An extractor with nothing to learn."""

    def __init__(self, space: Any, features_dim: int) -> None:
        super().__init__()
        self.features_dim = int(np.prod(space.shape))


class KeepsCopies(BaseCallback):
    """The Q-network at some steps."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps, self.copies = steps, []

    def _on_step(self) -> bool:
        if self.num_timesteps in self.steps:
            self.copies.append(copy.deepcopy(self.model.q_net))
        return True


def test_automatic_freezing_measures_how_much_features_change_and_waits_for_the_score() -> None:
    learner = model("DQN", learning_rate=1e-3, train_freq=20)
    automatic = quiet("auto", probe_every=260, earliest=100, similarity=0.0, patience=1)
    keeper = KeepsCopies(780, 1040)
    learner.learn(1040, callback=[keeper, automatic])  # alike since 520, for as long again
    assert not hasattr(learner, "seer_frozen_at")
    assert automatic._rule.reason == "score at its floor"
    covariances = Covariances()
    images = torch.cat(learner.replay_buffer.recent(256, span=260))
    with torch.no_grad():
        covariances.add(*(net.extract_features(images, net.features_extractor.eval()) for net in keeper.copies))
    assert automatic._rule.similarity == pytest.approx(linear_cka(covariances), abs=0.02)  # one step older images
    assert automatic._rule.similarity < 0.999


class Rising(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Every episode's reward is larger than the one's before."""

    episode = 0

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = self.env.step(action)
        self.episode += terminated or truncated
        return observation, float(self.episode), terminated, truncated, info


def test_automatic_freezing_freezes_when_features_have_settled_and_the_score_has_risen() -> None:
    inner = arcade(stack=1).envs[0].env  # type: ignore[attr-defined]
    learner = model("DQN", DummyVecEnv([lambda: Monitor(Rising(inner))]), train_freq=20)
    learner.learn(1080, callback=quiet("auto", probe_every=260, earliest=100, similarity=0.0, patience=1))
    assert learner.seer_frozen_at == 1040  # alike from the first comparison, at 520, on


class AtTheFirstLoss(FreezeRule):
    """Remembers what it was told, and freezes once it was told a loss."""

    def __init__(self) -> None:
        self.heard: list[StepMetrics] = []

    def on_step(self, metrics: StepMetrics) -> None:
        self.heard.append(metrics)
        if "loss" in metrics.losses:
            self.due_from = metrics.step


def test_a_freeze_rule_of_ones_own_is_told_scores_updates_and_losses() -> None:
    learner, callback = model("DQN"), quiet(f"{__name__}:AtTheFirstLoss")
    learner.learn(60, callback=callback)
    rule = callback._rule
    assert isinstance(rule, AtTheFirstLoss)
    assert learner.seer_frozen_at == rule.due_from
    assert 20 < learner.seer_frozen_at < 40  # learning starts at 20
    assert [metrics.step for metrics in rule.heard] == list(range(1, learner.seer_frozen_at + 1))
    assert (rule.heard[0].updates, rule.heard[-1].updates > 0, rule.heard[-1].cka) == (0, True, None)
    scores = [score for metrics in rule.heard for score in metrics.episode_returns]
    assert 1 <= len(scores) < 5  # episodes last 9 and 14 steps
    assert scores == [game["r"] for game in learner.ep_info_buffer][: len(scores)]


def test_automatic_freezing_begins_anew_where_steps_are_counted_anew() -> None:
    learner = model("DQN", train_freq=20)
    automatic = quiet("auto", probe_every=260, earliest=100, similarity=0.0, patience=1)
    learner.learn(540, callback=automatic)
    rule = automatic._rule
    assert rule.alike_since == 520
    learner.learn(40, callback=automatic, reset_num_timesteps=False)
    assert automatic._rule is rule
    learner.learn(40, callback=automatic)
    assert automatic._rule is not rule
    assert automatic._rule.streak == 0


def test_stored_features_have_the_length_of_their_batch(frozen: Model) -> None:
    batch = frozen.replay_buffer.sample(5)
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
    rows = ObservationRows(space, 1)
    for count in (1, 3):
        drawn = [space.sample() for _ in range(count)]
        observations = {key: np.stack([np.atleast_1d(one[key]) for one in drawn]) for key in space.spaces}
        back = rows.unpack(torch.from_numpy(rows.pack(observations)))
        for key, values in observations.items():
            np.testing.assert_array_equal(back[key].numpy().reshape(values.shape), values)


def test_a_loaded_model_says_when_it_was_frozen_and_takes_a_buffer_of_as_many_environments(
    frozen: Model, tmp_path: Path, capsys: Any
) -> None:
    frozen.save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=arcade(num_envs=2), device="cpu")
    loaded.learn(2, callback=SeerCallback(1000))
    assert "frozen at step 40" in capsys.readouterr().out
    frozen.save_replay_buffer(tmp_path / "buffer.pkl")
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


@pytest.mark.slow
def test_the_example_compares_both_arms(tmp_path: Path) -> None:
    script, out = Path(__file__).parents[2] / "examples" / "stable_baselines3_seer.py", tmp_path / "out"
    short = ("--steps", "240", "--freeze-at", "120", "--buffer", "240", "--learning-starts", "60", "--out", str(out))
    done = subprocess.run([sys.executable, script, *short], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, seer = (json.loads((out / f"{arm}.json").read_text()) for arm in ("plain", "seer"))
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
    page = (Path(__file__).parents[2] / "docs" / "stable_baselines3.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    for long, short in (("1_000_000", "330"), ("100_000", "600"), ("50_000", "300")):
        assert long in script
        script = script.replace(long, short)
    exec(script, {})
    assert "convolutions frozen at step 300" in capsys.readouterr().out
