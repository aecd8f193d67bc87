"""The buffer as Stable-Baselines3's: n-step returns, subclasses that change samples, sizes and files that can't be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerCallback, SeerReplayBuffer
from seer.integrations.stable_baselines3.extractors import StoredFeatures
from seer.integrations.stable_baselines3.transition_replay import allocate

from .arcade import Twin, arcade, encode_slowly, model
from .every_step import UNIT, Numbered
from .test_use import quiet

IGNORED = pytest.mark.filterwarnings("ignore:`n_steps=3` is ignored")


class NSteps(Twin):
    """Beside Stable-Baselines3's buffer of three-step returns."""

    def add(self, *arguments: Any) -> None:
        if not hasattr(self, "plain"):
            spaces = self.observation_space, self.action_space
            self.plain = NStepReplayBuffer(self.plain_size, *spaces, device="cpu", n_steps=3, gamma=0.9)
        super().add(*arguments)


@IGNORED
def test_n_steps_of_the_model_give_the_returns_of_stable_baselines3(capsys: Any) -> None:
    """Step by step the same, in both phases, where episodes end and where they are cut."""
    learner: Any = model("DQN", Numbered(arcade()), n_steps=3, gamma=0.9, replay_buffer_class=NSteps)
    learner.learn(60, callback=SeerCallback(1000))
    assert "returns are of n_steps=3" in capsys.readouterr().out
    compare_returns(learner)
    learner.learn(60, callback=quiet(60), reset_num_timesteps=False)
    assert learner.replay_buffer.holds_latents
    compare_returns(learner)


def compare_returns(learner: Any) -> None:
    buffer, plain = learner.replay_buffer, learner.replay_buffer.plain
    encode = encode_slowly(learner) if buffer.holds_latents else None
    expected = plain._get_samples(np.arange(plain.pos))
    batch = buffer.sample(1000)
    distance = torch.cdist(batch.rewards.double(), expected.rewards.double(), p=1)
    places = distance.argmin(1)  # the number of a step is in its return
    assert distance.min(1).values.max() < UNIT / 3  # SB3 sums in float32
    assert set(places.tolist()) >= set(range(plain.pos - 3))  # windows of the newest aren't full
    assert torch.equal(batch.actions, expected.actions[places])
    assert torch.equal(batch.dones, expected.dones[places])
    going_on = batch.dones[:, 0] == 0
    torch.testing.assert_close(batch.discounts[going_on], expected.discounts[places][going_on])
    assert len(batch.discounts[going_on].unique()) == 3  # windows that a time limit cuts are shorter
    assert 0 < going_on.sum() < 1000
    for mine, theirs in (
        (batch.observations, expected.observations[places]),
        (batch.next_observations, expected.next_observations[places]),
    ):
        if encode is None:
            assert torch.equal(mine[going_on], theirs[going_on])
        else:
            torch.testing.assert_close(mine.features[going_on], encode(theirs)[going_on], rtol=1e-3, atol=1e-4)


@IGNORED
def test_two_answers_to_how_many_steps_are_refused() -> None:
    learner: Any = model("DQN", n_steps=3, replay_buffer_kwargs={"n_steps": 5})
    with pytest.raises(SettingError, match="n_steps is 3 of the model but 5 of its replay buffer"):
        learner.learn(10, callback=quiet())
    assert learner.num_timesteps == 0


class Augmented(SeerReplayBuffer):
    """Images upside down."""

    calls = 0

    def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
        self.calls += 1
        batch = super()._get_samples(batch_inds, env=env)
        return batch._replace(observations=batch.observations.float().flip(-2))


class Shifted(SeerReplayBuffer):
    """As people augment in `sample`."""

    def sample(self, batch_size: int, env: Any = None) -> Any:
        batch = super().sample(batch_size, env)
        return batch._replace(observations=torch.roll(batch.observations, 1, -1))


class Careful(Augmented):
    """Knows that there are features."""

    def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
        if not self.holds_latents:
            return super()._get_samples(batch_inds, env)
        self.calls += 1
        return SeerReplayBuffer._get_samples(self, batch_inds, env)


@pytest.mark.parametrize(("kind", "name"), [(Augmented, "Augmented._get_samples"), (Shifted, "Shifted.sample")])
def test_a_subclass_that_augments_is_told_before_the_first_step_what_cannot_go_on(kind: Any, name: str) -> None:
    learner: Any = model("DQN", replay_buffer_class=kind)
    complaint = f"{name} works on images, .* StoredFeatures .*: let it return them unchanged where self.holds_latents"
    with pytest.raises(SettingError, match=complaint) as refused:
        learner.learn(60, callback=quiet())
    assert "\n" not in str(refused.value)
    assert learner.num_timesteps == 0


def test_a_subclass_is_honoured_before_the_freeze_and_after_it() -> None:
    learner: Any = model("DQN", replay_buffer_class=Careful)
    learner.learn(30, callback=quiet(1000))
    buffer, draws = learner.replay_buffer, learner.replay_buffer._replay.draw(8)
    turned = Augmented._get_samples(buffer, draws).observations
    assert torch.equal(turned, SeerReplayBuffer._get_samples(buffer, draws).observations.float().flip(-2))
    calls = buffer.calls
    assert buffer.sample(8).observations.dtype == torch.float32
    assert buffer.calls == calls + 1
    learner.learn(30, callback=quiet(30), reset_num_timesteps=False)
    calls = buffer.calls
    assert isinstance(buffer.sample(8).observations, StoredFeatures)
    assert buffer.calls == calls + 1


def test_a_subclass_may_augment_for_ever_where_images_are_kept() -> None:
    learner: Any = model("DQN", replay_buffer_class=Augmented, features=4000)
    learner.learn(60, callback=quiet())
    assert learner.seer_frozen_at == 40
    assert learner.replay_buffer.sample(4).observations.dtype == torch.float32


def test_a_subclass_samples_what_was_drawn_in_any_order_and_nothing_else() -> None:
    learner: Any = model("DQN", arcade(num_envs=2), replay_buffer_class=SeerReplayBuffer)
    learner.learn(80, callback=quiet(1000))
    buffer = learner.replay_buffer
    drawn = buffer._replay.draw(40)
    mixed = np.random.default_rng(0).permutation(40)
    one, other = buffer._get_samples(drawn), buffer._get_samples(drawn[mixed])
    assert len(set((drawn % 2).tolist())) == 2
    for mine, theirs in zip(one[:5], other[:5], strict=True):
        assert torch.equal(mine[mixed], theirs)
    with pytest.raises(SettingError, match=r"batch_inds of _get_samples must be those that SeerReplayBuffer.sample"):
        buffer._get_samples(np.arange(2 * buffer.buffer_size))


def test_a_size_that_the_machine_has_not_is_refused_with_the_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    learner: Any = model("DQN", buffer_size=10**12)
    with pytest.raises(SettingError, match=r"buffer_size is 1,000,000,000,000, which takes 7,056,000.0 GB .* at most"):
        learner.learn(10, callback=quiet())
    memory = type("Memory", (), {"available": 100_050})()
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    with pytest.warns(UserWarning, match="give at most 100") as said:
        allocate(101, 1000, 1)
    assert len(said) == 1
    allocate(100, 1000, 1)


def test_a_file_of_stable_baselines3s_own_buffer_is_refused_by_its_name(tmp_path: Path) -> None:
    plain: Any = model("DQN", replay_buffer_class=ReplayBuffer)
    plain.save_replay_buffer(tmp_path / "buffer.pkl")
    learner: Any = model("DQN")
    learner.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(SettingError, match=r"loaded replay buffer is a ReplayBuffer .*: leave load_replay_buffer out"):
        learner.learn(10, callback=quiet())


@pytest.mark.parametrize("name", ["observations", "next_observations", "actions", "rewards", "dones", "timeouts"])
def test_the_arrays_of_stable_baselines3_are_not_there(name: str) -> None:
    buffer = model("DQN").replay_buffer  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
        getattr(buffer, name)
