"""What the freeze does to models of Stable-Baselines3, on real games, against the slow way: encoding images anew."""

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor, nn

from seer.errors import SettingError
from seer.integrations.stable_baselines3 import SeerCallback
from seer.integrations.stable_baselines3.cut import choose_cut
from seer.integrations.stable_baselines3.extractors import StoredFeatures, freeze, networks

from .arcade import (
    ALGORITHMS,
    Twin,
    all_transitions,
    arcade,
    encode_slowly,
    extractor_state,
    model,
    sampled,
    trained,
    which,
)  # fmt: skip

Model = Any  # SB3's classes have no common attributes for what is read here


class Frozen(NamedTuple):
    """A model some steps after its freeze, and what it was before: its policy, and what was to be frozen of it."""

    learner: Model
    policy: Model
    extractors: dict[str, Tensor]


LONG = ("TD3", "SAC shared")
"""SAC shares no extractor either, TD3 shared does: both ways are in the quick ones."""
QUICK_AND_LONG = [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in ALGORITHMS]


@pytest.fixture(scope="module", params=QUICK_AND_LONG)
def frozen(request: pytest.FixtureRequest) -> Frozen:
    """A model of each algorithm, 40 steps after its freeze; tests leave it as it was.

    AdamW would decay a frozen weight with any gradient at all; tau of 0.5 would move a target's.
    """
    decay = {"optimizer_class": torch.optim.AdamW, "optimizer_kwargs": {"weight_decay": 0.1}}
    learner = trained(request.param, 40, 1000, policy_kwargs=decay, tau=0.5)
    before = Frozen(learner, copy.deepcopy(learner.policy), extractor_state(learner))
    learner.learn(40, callback=SeerCallback(40, verbose=0), reset_num_timesteps=False)
    return before


def test_what_is_stored_is_what_the_frozen_extractor_makes_of_every_image(frozen: Frozen) -> None:
    learner = frozen.learner
    buffer = learner.replay_buffer
    assert buffer.holds_latents
    rounding = 1e-6 if buffer._rows.replays[0].row.dtype == torch.float32 else 2e-4
    agree = which(sampled(buffer), all_transitions(buffer, encode_slowly(learner)), rounding=rounding)
    assert agree.any(1).all()  # every sample is a step that was played
    assert agree.any(0)[:-1].all()  # every step is sampled, but for the newest, whose next has no row yet


def test_networks_give_the_same_values_and_gradients_on_features_as_on_images(frozen: Frozen) -> None:
    learner = frozen.learner
    plain = learner.replay_buffer.plain.sample(16)
    encode = encode_slowly(learner)
    images, stored = plain.observations, StoredFeatures(encode(plain.observations))
    for name, network in networks(learner.policy).items():
        arguments = (plain.actions,) if "critic" in name else ()
        slow, slow_gradients = results(network, images, *arguments)
        fast, gradients = results(network, stored, *arguments)
        torch.testing.assert_close(fast, slow)
        assert gradients
        torch.testing.assert_close(gradients, slow_gradients)


def results(network: Any, *arguments: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and gradients of the sum of their squares; none is left on the network, whose norms SB3 clips."""
    network.zero_grad()
    torch.manual_seed(0)
    outputs = network(*arguments)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    sum(output.square().sum() for output in outputs).backward()
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    return [output.detach() for output in outputs], gradients


def test_an_update_from_features_is_the_update_from_images(frozen: Frozen, monkeypatch: pytest.MonkeyPatch) -> None:
    """SB3's own `train`, twice from the same state: on what the replay gives, and on the images of the same steps."""
    learner = frozen.learner
    buffer = learner.replay_buffer
    plain = buffer.plain.sample(8)
    encode = encode_slowly(learner)
    features = plain._replace(
        observations=StoredFeatures(encode(plain.observations)),
        next_observations=StoredFeatures(encode(plain.next_observations)),
    )
    start, gradients = copy.deepcopy(learner.get_parameters()), []
    for batch in (plain, features):
        learner.set_parameters(copy.deepcopy(start))
        learner._n_updates = 1  # TD3's actor learns at every second one
        torch.manual_seed(0)
        monkeypatch.setattr(buffer, "sample", lambda *_arguments, batch=batch, **_options: batch)
        learner.train(gradient_steps=1, batch_size=8)
        parameters = learner.policy.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in parameters if p.grad is not None})
    assert any(gradient.any() for gradient in gradients[0].values())
    assert gradients[0].keys() == gradients[1].keys()
    for name, slow in gradients[0].items():  # the actor's come after a step of Adam, which magnifies rounding
        assert (gradients[1][name] - slow).norm() <= 2e-3 * slow.norm() + 1e-7, name


def test_freezing_leaves_the_online_values_as_they_were_and_gives_the_target_their_extractor(frozen: Frozen) -> None:
    policy = copy.deepcopy(frozen.policy)
    observation = frozen.learner.replay_buffer.plain.sample(16).observations
    actions = frozen.learner.replay_buffer.plain.sample(16).actions
    parts = networks(policy)

    def values() -> dict[str, Any]:
        torch.manual_seed(0)
        with torch.no_grad():
            return {n: part(observation, *([actions] if "critic" in n else [])) for n, part in parts.items()}

    before = values()
    names = list(policy.state_dict())
    cut = choose_cut("auto", policy, [part.features_extractor for part in parts.values()])
    freeze(policy, cut)
    after = values()
    for name, value in before.items():
        if not name.endswith("_target"):
            torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    for name, part in parts.items():
        online = parts[name.removesuffix("_target")]
        assert cut.base(part.features_extractor) is cut.base(online.features_extractor)
    assert sorted(policy.state_dict()) == sorted(names)


def test_frozen_weights_stay_bit_for_bit_while_the_heads_learn(frozen: Frozen) -> None:
    after, before = frozen.learner.policy.state_dict(), frozen.policy.state_dict()
    online = {name: value for name, value in frozen.extractors.items() if "target" not in name}
    assert 0 < len(online) < len(frozen.extractors)
    for name, value in online.items():
        assert torch.equal(after[name], value), name
    for name in frozen.extractors.keys() - online.keys():
        assert torch.equal(after[name], after[name.replace("_target", "")]), name
    heads = set(after) - set(frozen.extractors)
    assert any(not torch.equal(after[name], before[name]) for name in heads)


def test_momentum_of_sgd_does_not_move_what_is_frozen() -> None:
    sgd = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.9, "weight_decay": 0.1}}
    learner = trained("DQN", policy_kwargs=sgd, learning_rate=1e-3)
    assert set(learner.policy.optimizer.state) == set(learner.q_net.parameters())  # no moments of the frozen are kept
    frozen = extractor_state(learner)
    learner.learn(40, callback=SeerCallback(40, verbose=0), reset_num_timesteps=False)
    assert all(torch.equal(learner.policy.state_dict()[name], value) for name, value in frozen.items())


class Normalised(NatureCNN):
    """With batch norm and dropout on top, which know whether they train."""

    def __init__(self, space: Any, features_dim: int) -> None:
        super().__init__(space, features_dim)
        self.linear = nn.Sequential(*self.linear, nn.BatchNorm1d(features_dim), nn.Dropout(0.5))


@pytest.mark.parametrize("features", [16, 4000])
def test_batch_norm_and_dropout_of_an_extractor_are_as_in_evaluation_from_the_freeze_on(features: int) -> None:
    """Also where features are too large to be stored and go on being computed from images."""
    learner = trained("DQN", features=features, policy_kwargs={"features_extractor_class": Normalised})
    assert learner.replay_buffer.holds_latents is (features == 16)
    frozen = extractor_state(learner)
    assert any("running_mean" in name for name in frozen)
    learner.learn(20, callback=SeerCallback(40, verbose=0), reset_num_timesteps=False)
    assert all(torch.equal(learner.policy.state_dict()[name], value) for name, value in frozen.items())
    learner.policy.set_training_mode(True)
    images = learner.replay_buffer.plain.sample(8).observations
    with torch.no_grad():
        assert torch.equal(learner.q_net(images), learner.q_net(images))


def test_features_larger_than_a_frame_are_not_stored_and_the_line_says_what_would_fit(capsys: Any) -> None:
    learner = model("DQN", features=2000)
    learner.learn(60, callback=SeerCallback(40, latent_dtype="float32"))
    buffer = learner.replay_buffer
    assert not buffer.holds_latents
    assert buffer.row_bytes == 84 * 84
    assert "features of 1764 in all would fit, or 3528 in float16" in capsys.readouterr().out
    agree = which(sampled(buffer), all_transitions(buffer))
    assert agree.any(1).all()
    assert agree.any(0)[:-1].all()
    learner.learn(20, callback=SeerCallback(40), reset_num_timesteps=False)
    assert capsys.readouterr().out == ""  # said once


@pytest.mark.parametrize(
    ("algorithm", "row_bytes"),
    [("DQN", 128 * 4), ("DQN convolutions", 64 * 7 * 7 * 2), ("SAC", 2 * 128 * 4), ("SAC shared", 128 * 4)],
)
def test_the_same_bytes_hold_more_rows(algorithm: str, row_bytes: int) -> None:
    learner = model(algorithm, features=128, buffer_size=40)
    learner.learn(30, callback=SeerCallback(1000, verbose=0))
    buffer = learner.replay_buffer
    block = buffer._rows.replays[0]._ring.memory.bytes.data_ptr()
    assert (buffer.buffer_size, buffer.num_bytes) == (40, 40 * 84 * 84)
    learner.learn(60, callback=SeerCallback(25, verbose=0), reset_num_timesteps=False)
    assert buffer._rows.replays[0]._ring.memory.bytes.data_ptr() == block
    assert (buffer.row_bytes, buffer.num_bytes) == (row_bytes, 40 * 84 * 84)
    assert buffer.buffer_size == 40 * 84 * 84 // row_bytes
    assert buffer.pos > 40


def test_acting_and_storing_share_one_pass() -> None:
    """After the freeze an image goes through the extractor once: SAC's actor acts, its critic's features are added."""
    learner = trained("SAC")
    counts = {"actor": 0, "critic": 0}
    for name in counts:

        def count(_module: Any, inputs: Any, _output: Any, name: str = name) -> None:
            counts[name] += len(inputs[0])

        getattr(learner, name).features_extractor.register_forward_hook(count)
    learner.learn(40, callback=SeerCallback(40, verbose=0), reset_num_timesteps=False)
    buffer = learner.replay_buffer
    closed = int(buffer.plain.timeouts[80 : buffer.plain.pos].sum())  # their last observation is stored too
    assert counts["actor"] == counts["critic"]
    assert 20 < counts["actor"] <= 40 + closed  # fewer, where the picture stands still


def test_dict_observations_keep_picture_and_numbers_together() -> None:
    learner = model("DQN", arcade(paddles=True, num_envs=2))
    learner.learn(40, callback=SeerCallback(1000, verbose=0))
    buffer = learner.replay_buffer
    assert isinstance(buffer, Twin)
    assert buffer.row_bytes == 84 * 84 + 2 * 4
    assert which(sampled(buffer), all_transitions(buffer)).any(1).all()
    learner.learn(40, callback=SeerCallback(50, verbose=0), reset_num_timesteps=False)
    assert buffer.row_bytes == (16 + 4 * 2) * 4  # the numbers of a stack are among the features
    agree = which(sampled(buffer), all_transitions(buffer, encode_slowly(learner)))
    assert agree.any(1).all()
    predicted, _ = learner.predict(learner.env.reset(), deterministic=True)
    assert predicted.shape == (2,)


@pytest.mark.parametrize("stack", [1, 4])
def test_two_environments_wrap_around_before_and_after_the_freeze(stack: int) -> None:
    """Rings of 20 rows that were overwritten several times hold only whole steps, in both phases."""
    learner = model("DQN", arcade(num_envs=2, stack=stack), buffer_size=40, features=1500)
    learner.learn(100, callback=SeerCallback(1000, verbose=0))
    buffer = learner.replay_buffer
    assert buffer.full
    assert which(sampled(buffer, 200), all_transitions(buffer)).any(1).all()
    learner.learn(120, callback=SeerCallback(130, verbose=0), reset_num_timesteps=False)
    assert buffer.full
    agree = which(sampled(buffer, 400), all_transitions(buffer, encode_slowly(learner)))
    assert agree.any(1).all()
    newest = agree.any(0).view(2, -1)[:, -15:-1]  # [E, T]
    assert newest.all()


def test_n_steps_fold_like_those_of_stable_baselines3() -> None:
    """Each sample's reward and discount by hand, from the plain buffer's steps."""
    learner = trained("DQN", replay_buffer_kwargs={"n_steps": 3, "gamma": 0.9}, gamma=0.9)
    buffer = learner.replay_buffer
    plain = buffer.plain
    known = all_transitions(buffer, encode_slowly(learner))
    batch = buffer.sample(200)
    over = plain.dones[: plain.pos, 0].astype(bool)
    for b in range(200):
        found = []
        for start in np.flatnonzero((known["now"] - batch.observations.features[b].flatten()).norm(dim=1) < 1e-5):
            steps = [k for k in range(start, min(start + 3, plain.pos)) if not over[start:k].any()]
            reward = sum(0.9**k * plain.rewards[step, 0] for k, step in enumerate(steps))
            found.append((round(float(reward), 4), known["done"][steps[-1]].item(), 0.9 ** len(steps)))
        reward, done, discount = batch.rewards[b].item(), batch.dones[b].item(), batch.discounts[b].item()
        assert any(abs(reward - r) < 1e-3 and done == d and (d == 1 or abs(discount - g) < 1e-5) for r, d, g in found)


def test_where_to_cut_is_chosen_by_what_is_left_to_learn(tmp_path: Path) -> None:
    """An asked for cut is kept by a saved model, whatever the next callback says."""
    learner = model("DQN")
    learner.learn(80, callback=SeerCallback(40, freeze_layers="convolutions", verbose=0))
    linear = learner.q_net.features_extractor.linear[0].weight  # type: ignore[attr-defined]
    assert linear.requires_grad
    assert linear is not learner.q_net_target.features_extractor.linear[0].weight  # type: ignore[attr-defined]
    learner.save(tmp_path / "model")
    loaded = type(learner).load(tmp_path / "model", env=arcade(), device="cpu")
    loaded.learn(30, callback=SeerCallback(40, freeze_layers="all", verbose=0), reset_num_timesteps=False)
    now = loaded.policy.state_dict()["q_net.features_extractor.linear.0.weight"]
    assert not torch.equal(now, learner.policy.state_dict()["q_net.features_extractor.linear.0.weight"])
    with pytest.raises(SettingError, match="is for NatureCNN, not Combined"):
        model("DQN", arcade(paddles=True)).learn(40, callback=SeerCallback(30, freeze_layers="convolutions"))
    for nonsense in ({"freeze_layers": "most"}, {"latent_dtype": "int4"}):
        with pytest.raises(SettingError, match="use one of"):
            SeerCallback(40, **nonsense)  # type: ignore[arg-type]


def test_convolutions_of_two_extractors_take_more_than_a_row_and_images_stay() -> None:
    learner = trained("SAC", policy_kwargs={"net_arch": []})
    buffer: Any = learner.replay_buffer
    assert not buffer.holds_latents
    assert which(sampled(buffer), all_transitions(buffer)).any(1).all()
    convolutions = extractor_state(learner)
    learner.learn(20, callback=SeerCallback(40, verbose=0), reset_num_timesteps=False)
    assert all(torch.equal(learner.policy.state_dict()[name], value) for name, value in convolutions.items())
