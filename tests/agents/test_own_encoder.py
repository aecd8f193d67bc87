"""A module of one's own, with batch norm and dropout, that learns with each agent and is then frozen."""

import copy
import dataclasses
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import small_drqv2
import small_sac
from seer.agents.agent import Agent
from seer.agents.rainbow import Rainbow
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.networks.own_module import own_module
from seer.networks.own_module_check import refuse_unfit
from seer.presets import preset
from seer.replay import Replay
from seer.training.build_agent import build_agent
from seer.training.build_replay import build_replay

SIDE, ROWS = 40, 120
AGENTS = ("rainbow", "sac", "curl", "drqv2")


def make_module(channels: int = 9) -> nn.Sequential:
    """Of layers with each kind of state: weights, running statistics, dropout; the last but one works in place."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 4, 8, 8), nn.BatchNorm2d(4)),
        nn.Dropout(0.5),
        nn.ELU(inplace=True),
        nn.Sequential(nn.Conv2d(4, 3, 2, 2, bias=False), nn.BatchNorm2d(3)),
    )


def make_grey() -> nn.Sequential:
    return make_module(2)


def make_bfloat16() -> nn.Sequential:
    return make_module().bfloat16()


def make_double() -> nn.Sequential:
    return make_module().double()


def make(
    name: str, *, layers: str = "all", at: str = "50", factory: str = "make_module", seed: int = 0
) -> tuple[Agent[Any], Replay]:
    """An agent and its empty replay."""
    own = {"encoder_factory": f"test_own_encoder:{factory}", "at": at, "layers": layers}
    if name in ("sac", "curl"):
        config = small_sac.make_config(name, crops=2)
        return small_sac.make(dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, **own)), seed)
    if name == "drqv2":
        config = small_drqv2.make_config(crops=2)
        return small_drqv2.make(dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, **own)), seed)
    config = preset("ALE/Pong-v5")
    own["encoder_factory"] = "test_own_encoder:make_grey"
    config = dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, size=SIDE),
        learning=dataclasses.replace(config.learning, batch_size=8, hidden_units=16, target_every=2),
        replay=dataclasses.replace(config.replay, n_step=1),
        freeze=dataclasses.replace(config.freeze, **own),
    )
    actions = gymnasium.spaces.Discrete(3)
    environment: Any = SimpleNamespace(packing=None, frame_shape=(1, SIDE, SIDE), stack=2, action_space=actions)
    agent = build_agent(config, environment, torch.device("cpu"), [seed, 1, 2, 3])
    num_bytes = ROWS * SIDE * SIDE
    return agent, build_replay(config, environment, torch.device("cpu"), np.random.default_rng(4), num_bytes=num_bytes)


def shape_of(agent: Agent[Any]) -> tuple[int, ...]:
    """The shape of one observation, [S, C, H, W]."""
    return (2, 1, SIDE, SIDE) if isinstance(agent, Rainbow) else (3, 3, SIDE, SIDE)


def play(agent: Agent[Any], replay: Replay, steps: int = 60) -> None:
    """Noise, in episodes of eleven steps."""
    rng, shape = np.random.default_rng(0), shape_of(agent)
    for step in range(steps):
        observation = rng.integers(0, 256, shape, dtype=np.uint8)
        action, row = agent.explore(observation)
        cut = step % 11 == 10
        final_row = agent.row(observation) if cut else None
        replay.append(row, action, float(rng.normal()), terminated=False, truncated=cut, final_row=final_row)


def learn(agent: Agent[Any], replay: Replay, updates: int = 4) -> None:
    for _ in range(updates):
        agent.update(replay.sample(8))


def numbers(module: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, each in module.state_dict().items() if not torch.equal(each, before[name])}


def module_of(network: Any) -> nn.Module:
    module = own_module(network.encoder.stages)
    assert module is not None
    return module


@pytest.mark.parametrize("name", AGENTS)
def test_it_learns_and_is_then_frozen_in_both_networks(name: str) -> None:
    """Weights and running statistics, all of them, move before the freeze and never after it."""
    agent, replay = make(name)
    play(agent, replay)
    online, target = module_of(agent.online), module_of(agent.target)
    before, before_target = numbers(online), numbers(target)
    learn(agent, replay)
    assert changed(before, online) == before.keys()
    floats = {key for key, each in before.items() if each.is_floating_point()}
    assert changed(before_target, target) >= floats  # the target's statistics follow too
    agent.freeze_and_transcode(replay)
    assert agent.phase is Phase.LATENTS
    assert module_of(agent.target) is module_of(agent.online)
    frozen, head = numbers(online), numbers(agent.online.head)
    play(agent, replay, 20)
    learn(agent, replay)
    agent.online.train()
    learn(agent, replay)
    assert not changed(frozen, online)
    assert changed(head, agent.online.head)


@pytest.mark.parametrize("name", AGENTS)
def test_acting_and_encoding_leave_it_as_it_is(name: str) -> None:
    """No dropout, and no batch: an observation has the same features alone and among others, and nothing moves."""
    agent, replay = make(name)
    play(agent, replay, 20)
    learn(agent, replay)
    before = numbers(agent.online)
    observations = np.random.default_rng(3).integers(0, 256, (6, *shape_of(agent)), dtype=np.uint8)
    together = agent.act(observations)
    np.testing.assert_allclose(np.stack([agent.act(each[None])[0] for each in observations]), together, atol=1e-5)
    agent.explore(observations[0])
    agent.encode(torch.from_numpy(observations))
    assert not changed(before, agent.online)
    assert module_of(agent.online).training


@pytest.mark.parametrize("name", ["rainbow", "sac"])
def test_a_row_is_what_the_frozen_module_gives_for_its_frames(name: str) -> None:
    agent, replay = make(name)
    play(agent, replay)
    learn(agent, replay)
    newest = replay.recent(20, span=40)
    frames = replay.read(newest)
    if name == "sac":
        agent.online.encoder.augment = lambda each: each[..., :36, :36]  # by chance, each crop would be another
    expected = agent.encode(frames)
    agent.freeze_and_transcode(replay)
    stored = replay.read(replay.recent(20, span=40))
    torch.testing.assert_close(stored.reshape(expected.shape), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layers", ["all", "1", "2"])
def test_an_update_on_frames_with_it_frozen_is_one_on_latents(layers: str) -> None:
    """Above a cut too, where batch norm goes on by the batch, and where a layer works in place on what is stored."""
    agent, replay = make("rainbow", layers=layers)
    play(agent, replay)
    learn(agent, replay)
    other = copy.deepcopy(agent)
    other.generator.set_state(agent.generator.get_state())
    batch = replay.sample(8)
    rows = {name: agent.encode(getattr(batch, name))[:, 0] for name in ("now", "next")}
    kept = rows["now"].clone()
    agent.freeze(Phase.LATENTS)
    other.freeze(Phase.FROZEN_FRAMES)
    torch.manual_seed(0)
    agent.update(dataclasses.replace(batch, **rows))
    torch.manual_seed(0)
    other.update(batch)
    assert torch.equal(rows["now"], kept)
    for name, each in agent.online.state_dict().items():
        torch.testing.assert_close(other.online.state_dict()[name], each, msg=name)


def test_layers_above_the_cut_go_on_learning() -> None:
    agent, replay = make("sac", layers="2")
    play(agent, replay)
    learn(agent, replay)
    agent.freeze_and_transcode(replay)
    base, above = (nn.ModuleList(part) for part in (agent.online.encoder.base, agent.online.encoder.above))
    before = numbers(base), numbers(above)
    learn(agent, replay)
    assert not changed(before[0], base)
    assert "1.module.1.running_mean" in changed(before[1], above)
    assert replay.row.shape == (2, 1, 4 * 4 * 4)


def test_what_the_freeze_takes_along() -> None:
    """Learning first, SAC's projections are frozen too and their two latents stored; from the start, they learn."""
    first, _ = make("sac")
    assert (first.latent.shape, first.online.encoder.above) == ((2, 2, 50), [])
    start, _ = make("sac", at="0")
    assert start.latent.shape == (2, 1, 3 * 2 * 2)


def test_the_targets_statistics_move_as_its_weights_do() -> None:
    agent, replay = make("sac")
    play(agent, replay, 20)
    batch, settings = replay.sample(8), agent.settings  # type: ignore[attr-defined]
    before = module_of(agent.target).state_dict()["0.1.running_mean"].clone()
    agent.update(batch)
    after = module_of(agent.online).state_dict()["0.1.running_mean"]
    expected = before + settings.encoder_tau * (after - before)
    torch.testing.assert_close(module_of(agent.target).state_dict()["0.1.running_mean"], expected)


@pytest.mark.parametrize("factory", ["make_bfloat16", "make_double"])
def test_it_computes_in_its_own_dtype(factory: str) -> None:
    agent, replay = make("curl", factory=factory)
    play(agent, replay, 20)
    learn(agent, replay)
    dtypes = {each.dtype for each in module_of(agent.online).parameters()}
    assert dtypes == {torch.bfloat16 if factory == "make_bfloat16" else torch.float64}
    agent.freeze_and_transcode(replay)
    learn(agent, replay)


class Plain(nn.Module):
    """A convolution; its kinds below have one fault each."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(9, 2, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)  # type: ignore[no-any-return]


class Closed(Plain):
    """Runs a layer that a copy doesn't own."""

    def __init__(self) -> None:
        super().__init__()
        layer = self.layer
        self.run = lambda images: layer(images).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images)  # type: ignore[no-any-return, no-untyped-call]


class Detached(Plain):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.layer(images)  # type: ignore[no-any-return]


class Noisy(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(images))


class OfTheBatch(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.batch_norm(self.layer(images), None, None, training=True)


class Infinite(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images) / 0  # type: ignore[no-any-return]


class Uncopied(Plain):
    def __deepcopy__(self, memo: Any) -> "Uncopied":
        raise RuntimeError("only one of me")


class Centred(Plain):
    persistent = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()), persistent=self.persistent)

    def forward(self, images: Tensor) -> Tensor:
        self.mean += 0.01 * self.training * (images.mean() - self.mean)
        return self.layer(images - self.mean)  # type: ignore[no-any-return]


class CentredWell(Centred):
    persistent = True


class Shared(nn.Sequential):
    def __init__(self) -> None:
        layer = nn.Conv2d(9, 9, 3, padding=1)
        super().__init__(layer, nn.ReLU(), layer)


def make_checked(factory: str, at: str) -> Agent[Any]:
    agent, _ = make("sac", factory=factory, at=at, layers="1" if factory == "Shared" else "all")
    refuse_unfit(agent.online.encoder.stages, learns=at != "0")
    return agent


@pytest.mark.parametrize(
    ("factory", "at", "words"),
    [
        ("Closed", "50", "doesn't see them"),
        ("Detached", "50", "--freeze-at 0"),
        ("Noisy", "0", "the same images each time"),
        ("OfTheBatch", "0", "depend on the others"),
        ("Infinite", "0", "aren't finite"),
        ("Uncopied", "50", "only one of me"),
        ("Shared", "50", "layers 0 and 2"),
        ("Centred", "50", "numbers that its state_dict\\(\\) lacks"),
    ],
)
def test_modules_that_cannot_be_used_are_one_line(factory: str, at: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as raised:
        make_checked(factory, at)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("factory", "at"),
    [("Plain", "50"), ("Detached", "0"), ("make_module", "50"), ("Centred", "0"), ("CentredWell", "50")],
)
def test_modules_that_can_be_used_are_not_changed_by_the_check(factory: str, at: str) -> None:
    agent, _ = make("sac", factory=factory, at=at)
    before, randomness = numbers(agent.online), torch.get_rng_state()
    refuse_unfit(agent.online.encoder.stages, learns=at != "0")
    assert not changed(before, agent.online)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert all(weight.grad is None for weight in agent.online.parameters())


def test_projections_that_another_run_has_trained_are_frozen_with_the_module() -> None:
    """With --from; those that are new go on learning above a module that is frozen from the start."""
    config = small_sac.make_config("sac", crops=2)
    own = {"encoder_factory": "test_own_encoder:make_module", "at": "0"}
    config = dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, **own))
    taken_over = dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, agent_from="runs/another"))
    shapes = [small_sac.make(each)[0].latent.shape[1:] for each in (config, taken_over)]
    assert shapes == [(1, 3 * 2 * 2), (2, 50)]
