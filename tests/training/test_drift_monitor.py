"""Measurements on agents: activations, comparisons, drift and resets, for Rainbow, SAC and CURL, each against loops."""

import copy
import dataclasses
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from seer.agents.activations import OUTPUT, all_activations, encoder_activations, head_activations
from seer.agents.agent import Agent
from seer.core.feature_stability import FeatureStability, as_samples
from seer.core.phase import Phase
from seer.core.similarity import Covariances, effective_rank, linear_cka, svcca
from seer.presets import preset
from seer.replay import MemoryBlock, Replay, RowFormat, Uniform
from seer.training.build_agent import build_agent
from seer.training.drift_monitor import DriftMonitor, encode_views
from small_agent import FRAME_SHAPE, STACK, make_agent, make_batch
from small_sac import cropped_batch, experience, make, make_config
from small_sac import freeze as freeze_sac


def make_rainbow(seed: int = 0) -> tuple[Agent[Any], Replay]:
    replay = Replay(
        memory=MemoryBlock(120 * 900), frame=RowFormat(FRAME_SHAPE, torch.uint8), stack=STACK,
        action=RowFormat((), torch.int64), n_step=2, discount=0.9, sampler=Uniform(), rng=np.random.default_rng(0),
    )  # fmt: skip
    return make_agent(seed=seed), replay


def play(agent: Agent[Any], replay: Replay, steps: int, seed: int = 0, brightness: int = 256) -> None:
    rng = np.random.default_rng(seed)
    shape = (replay.read(np.empty(0, np.int64)).shape[1:]) if not replay.holds_latents else (STACK, *FRAME_SHAPE)
    for step in range(steps):
        observation = rng.integers(brightness // 2, brightness, shape).astype(np.uint8)
        action, row = agent.explore(observation)
        replay.append(row, action, 0.0, terminated=step % 9 == 8)


def make_any(name: str, layers: str = "all") -> tuple[Agent[Any], Replay]:
    if name == "rainbow":
        agent, replay = make_rainbow()
        play(agent, replay, 60)
    else:
        agent, replay = make(make_config(name, layers=layers))
        experience(agent, replay, 60, seed=0)  # type: ignore[arg-type]
    return agent, replay


def learn(agent: Agent[Any]) -> None:
    agent.update(make_batch(agent) if type(agent).__name__ == "Rainbow" else cropped_batch(agent, 4)[0])  # type: ignore[arg-type]


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))


ALL = pytest.mark.parametrize(("name", "layers"), [("rainbow", "all"), ("sac", "all"), ("curl", "all"), ("curl", "2")])


@ALL
def test_measuring_leaves_no_trace(name: str, layers: str) -> None:
    """Whatever is measured, the agent's state, its generators' and the replay's stay as they are."""
    agent, replay = make_any(name, layers)
    learn(agent)
    stability = FeatureStability(observations=20, every=40)
    stability.compare(agent.online.encoder, replay)
    learn(agent)

    def state() -> Any:
        generators = [g.get_state() if isinstance(g, torch.Generator) else g.bit_generator.state
                      for g in agent.generators().values()]  # fmt: skip
        weights = [value.clone() for module in agent.modules().values() for value in module.state_dict().values()]
        return weights, [str(g) for g in generators], str(replay.state_dict()["rng"])

    before = state()
    assert stability.compare(agent.online.encoder, replay) is not None
    frames = replay.read(replay.recent(20, span=40))
    agent.judge(encode_views(agent, agent.online.encoder, frames), agent.online)
    encoder_activations(agent, frames)
    DriftMonitor(observations=20, every=40).measure(agent, replay)
    after = state()
    assert all(map(torch.equal, before[0], after[0]))
    assert before[1:] == after[1:]
    assert agent.online.head.training
    learn(agent)  # no hook, no disabled gradient is left behind
    assert not any(module._forward_hooks for part in agent.modules().values() for module in part.modules())


@ALL
def test_comparisons_agree_with_a_slow_one(name: str, layers: str) -> None:
    agent, replay = make_any(name, layers)
    learn(agent)
    stability = FeatureStability(observations=40, every=50)  # more than one chunk
    assert stability.compare(agent.online.encoder, replay) is None
    before = copy.deepcopy(agent.online.encoder)
    assert stability.compare(agent.online.encoder, replay) is None  # nothing learnt since
    learn(agent)
    found = stability.compare(agent.online.encoder, replay)
    newest = replay.recent(50, span=50)
    assert len(newest) == 50
    assert newest[-1] - newest[0] == 49
    frames = agent.view(replay.read(newest[np.linspace(0, 49, 40).round().astype(int)]))
    encoder = agent.online.encoder
    expected = []
    with torch.no_grad():
        outputs = [[e.pixels(frames)] for e in (before, encoder)]
        for each, stages in zip(outputs, (before.base, encoder.base), strict=True):
            for stage in stages:
                each[:] = stage(each[0]) if isinstance(stage(each[0]), tuple) else [stage(each[0])]
    for left, right in zip(*outputs, strict=True):
        covariances = Covariances()
        covariances.add(as_samples(left), as_samples(right))
        expected.append((linear_cka(covariances), svcca(covariances)))
    assert found is not None
    assert found.observations == 40
    np.testing.assert_allclose((found.cka, found.svcca), np.min(expected, 0), rtol=1e-6)
    assert found.cka < 1


@ALL
def test_a_probe_comes_back_from_its_state(name: str, layers: str) -> None:
    agent, replay = make_any(name, layers)
    learn(agent)
    stability, resumed = FeatureStability(observations=16, every=20), FeatureStability(observations=16, every=20)
    resumed.load_state_dict(stability.state_dict(), agent.online.encoder)
    stability.compare(agent.online.encoder, replay)
    learn(agent)
    resumed.load_state_dict(stability.state_dict(), agent.online.encoder)
    assert resumed.compare(agent.online.encoder, replay) == stability.compare(agent.online.encoder, replay) is not None
    stability.stop()
    assert stability.state_dict()["before"] is None


def test_samples_of_a_layer_are_its_positions() -> None:
    maps = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    samples = as_samples(maps)
    assert samples.shape == (40, 3)
    assert samples[0].tolist() == maps[0, :, 0, 0].tolist()
    assert samples[-1].tolist() == maps[1, :, 3, 4].tolist()
    assert torch.equal(as_samples(samples), samples)


def test_an_average_is_no_layer() -> None:
    """Of --latent-pool: it learns nothing, so it doesn't settle."""
    config = preset("ALE/Pong-v5")
    config = dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, latent_pool=2))
    environment: Any = SimpleNamespace(
        packing=None, frame_shape=(1, 84, 84), stack=4, action_space=gymnasium.spaces.Discrete(6)
    )
    agent = build_agent(config, environment, torch.device("cpu"), [0, 1, 2, 3])
    frames = torch.zeros(3, 4, 1, 84, 84, dtype=torch.uint8)
    assert len(agent.online.encoder.stages) == 3
    assert list(encoder_activations(agent, frames)) == ["encoder 1", "encoder 2"]


@ALL
def test_activations_are_what_the_networks_compute(name: str, layers: str) -> None:
    agent, replay = make_any(name, layers)
    frames = replay.read(replay.recent(6, span=12))
    encoder = agent.online.encoder
    found = encoder_activations(agent, frames)
    with torch.no_grad():
        final = encoder(encoder.pixels(agent.view(frames)))
    last = list(found.values())[-len(final) :]
    assert all(
        torch.equal(one.flatten(1) if one.dim() == 4 else one, other) for one, other in zip(last, final, strict=True)
    )
    heads = head_activations(agent, encode_views(agent, encoder, frames))
    names = [f"{label}{part}" for label in HEADS[name == "rainbow"] for part in (" 1", " 2", OUTPUT)]
    assert sorted(heads) == sorted(n for n in names if name != "rainbow" or not n.endswith(" 2"))
    assert all((units >= 0).all() and (units == 0).any() for layer, units in heads.items() if OUTPUT not in layer)
    assert len({len(units) for units in heads.values()}) == 1
    together = all_activations(agent, frames)
    assert list(together) == [*found, *heads]
    assert all(torch.allclose(units, (found | heads)[layer], atol=1e-6) for layer, units in together.items())


HEADS = {True: ("head advantage", "head value"), False: ("actor", "critic first", "critic second")}


@ALL
def test_a_judgement_is_what_acting_and_the_critics_say(name: str, layers: str) -> None:
    agent, replay = make_any(name, layers)
    frames = replay.read(replay.recent(6, span=12))
    latents = encode_views(agent, agent.online.encoder, frames)
    actions, values = agent.judge(latents, agent.online)
    np.testing.assert_allclose(actions, agent.act(frames.numpy()), rtol=1e-5, atol=1e-6)
    assert torch.equal(values, agent.judge(latents, agent.target)[1])  # target = copy
    with torch.no_grad():
        for parameter in agent.target.parameters():
            parameter.mul_(1.1)
    again = agent.judge(latents, agent.online)
    assert torch.equal(actions, again[0])
    assert torch.equal(values, again[1])
    assert not torch.equal(values, agent.judge(latents, agent.target)[1])


def test_drift_agrees_with_loops() -> None:
    agent, replay = make_rainbow()
    play(agent, replay, 100)
    agent.freeze(Phase.LATENTS)
    replay.transcode(agent.encode, agent.latent)
    monitor = DriftMonitor(observations=30, every=25)
    assert monitor.measure(agent, replay) is None
    ids = replay.recent(30, span=100)
    seen = [replay.read(np.array([i]))[0, 0].flatten().double() for i in ids]
    play(agent, replay, 40, seed=1)
    found = monitor.measure(agent, replay)
    now = [replay.read(np.array([i]))[0, 0].flatten().double() for i in range(115, 140)]
    nearest = sorted(min(float((z - s).norm()) for s in seen) for z in now)
    at_freeze = replay.recent(25, span=25) - 40
    newest = [(i, replay.read(np.array([i]))[0, 0].flatten().double()) for i in at_freeze]
    others = list(zip(ids, seen, strict=True))
    among = sorted(min(float((z - s).norm()) for j, s in others if j != i) for i, z in newest)
    middle = lambda values: values[(len(values) - 1) // 2]  # noqa: E731 (torch's median: the lower one)
    assert found is not None
    np.testing.assert_allclose(found["feature_distance"], middle(nearest) / middle(among), rtol=1e-4)
    norms = [np.mean([float(z.norm()) for z in each]) for each in (now, [z for _, z in newest])]
    np.testing.assert_allclose(found["feature_norm"], norms[0] / norms[1], rtol=1e-5)
    hidden = head_activations(agent, replay.read(np.arange(115, 140))[:, 0])
    ranks = [effective_rank(units) for layer, units in hidden.items() if OUTPUT not in layer]
    assert found["effective_rank"] == min(ranks)


@pytest.mark.parametrize("phase", [Phase.LATENTS, Phase.FROZEN_FRAMES])
def test_observations_of_another_kind_are_noticed_once(phase: Phase) -> None:
    agent, replay = make_rainbow()
    play(agent, replay, 100, brightness=256)
    agent.freeze(phase)
    if phase is Phase.LATENTS:
        replay.transcode(agent.encode, agent.latent)
    monitor = DriftMonitor(observations=30, every=25)
    assert monitor.measure(agent, replay) is None
    play(agent, replay, 40, seed=1)
    same = monitor.measure(agent, replay)
    assert same is not None
    assert not monitor.warnings(same)
    play(agent, replay, 40, seed=2, brightness=4)
    dark = monitor.measure(agent, replay)
    assert dark is not None
    first = monitor.warnings(dark)
    assert any("times as far" in line for line in first)
    resumed = DriftMonitor(observations=30, every=25)
    resumed.load_state_dict(monitor.state_dict(), agent.device)
    assert resumed.measure(agent, replay) == dark
    assert monitor.warnings(dark) == resumed.warnings(dark) == []


def test_dead_heads_are_noticed() -> None:
    agent, replay = make_any("curl")
    freeze_sac(agent, replay)  # type: ignore[arg-type]
    monitor = DriftMonitor(observations=16, every=20)
    monitor.measure(agent, replay)
    healthy = monitor.measure(agent, replay)
    assert healthy is not None
    assert healthy["dormant_share"] < 0.5
    with torch.no_grad():
        for layer in (agent.actor.layers[2], agent.online.head.first[2]):  # type: ignore[attr-defined]
            layer.weight.zero_()
            layer.bias.fill_(-1)
            layer.bias[0] = 1
    sick = monitor.measure(agent, replay)
    assert sick is not None
    assert sick["dormant_share"] > healthy["dormant_share"] + 0.2
    assert sick["effective_rank"] == 1
    assert any("effective rank fell" in line for line in monitor.warnings(sick))

    most = healthy | {"dormant_share": 0.7}
    assert [line for line in monitor.warnings(most) if "70% of the heads' hidden units" in line]
    from_the_start = DriftMonitor(observations=16, every=20)
    from_the_start.measure(agent, replay)
    state = from_the_start.state_dict()
    from_the_start.load_state_dict(state | {"at_freeze": state["at_freeze"] | {"dormant_share": 0.5}}, agent.device)
    assert not from_the_start.warnings(most)


@ALL
@pytest.mark.parametrize("frozen", [False, True])
def test_a_reset_gives_fresh_heads_and_nothing_else(name: str, layers: str, frozen: bool) -> None:
    agent, replay = make_any(name, layers)
    learn(agent)
    if frozen:
        agent.freeze(Phase.LATENTS)
        replay.transcode(agent.encode, agent.latent)
    fresh = make_rainbow(seed=9)[0] if name == "rainbow" else make(make_config(name, layers=layers), seed=9)[0]
    encoder = copy.deepcopy(agent.online.encoder.state_dict())
    others = {name: agent.modules()[name] for name in ("temperature", "similarity") if name in agent.modules()}
    for module in others.values():
        for weight in module.parameters():
            weight.data.add_(1)
    agent.reset(fresh)
    if "temperature" in others:
        assert same(others["temperature"], fresh.modules()["temperature"])
    if "similarity" in others:  # compares latents of an encoder that stays
        assert not same(others["similarity"], fresh.modules()["similarity"])
    for part, module in agent.heads().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, fresh.heads()[part].state_dict()[key])
    assert all(map(torch.equal, agent.target.head.parameters(), agent.online.head.parameters()))
    assert all(torch.equal(value, agent.online.encoder.state_dict()[key]) for key, value in encoder.items())
    renewed = [*agent.heads().values(), *(others[name] for name in others if name == "temperature")]
    parameters = {p for module in renewed for p in module.parameters()}
    assert not any(p in optimizer.state for optimizer in agent.optimizers.values() for p in parameters)
    if not frozen:
        learn(agent)


def test_drift_from_an_agent_that_stood_still_is_a_number_one_can_read() -> None:
    """At the freeze all observations were the same; the distance counts in hundredths of their features' norm."""
    agent, replay = make_rainbow()
    play(agent, replay, 100, brightness=1)  # noise below 1: black pictures
    agent.freeze(Phase.LATENTS)
    replay.transcode(agent.encode, agent.latent)
    monitor = DriftMonitor(observations=30, every=25)
    monitor.measure(agent, replay)
    play(agent, replay, 40, seed=1)
    found = monitor.measure(agent, replay)
    assert found is not None
    seen = replay.read(np.array([5]))[0, 0].flatten().double()
    now = sorted(float((replay.read(np.array([i]))[0, 0].flatten().double() - seen).norm()) for i in range(115, 140))
    np.testing.assert_allclose(found["feature_distance"], now[12] / (0.01 * float(seen.norm())), rtol=1e-4)
