"""Rainbow: one update in every phase, what a freeze stops, parts that are really on or off, and that it learns."""

import copy
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from replay.oracle import Everything
from seer.agents.agent import Update
from seer.agents.rainbow import Epsilon, Rainbow
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeAt
from seer.core.phase import Phase
from seer.envs.base import Info, PixelEnvironment, Pixels, State
from seer.networks.convolutions import DATA_EFFICIENT, Convolution
from seer.networks.encoders import ConvolutionForm
from seer.networks.heads import Noise, ValueHead
from seer.replay import Batch, MemoryBlock, Prioritized, Replay, RowFormat, Uniform
from seer.runs.checkpoints import load_checkpoint, save_checkpoint
from seer.runs.stop_signal import StopSignal
from seer.training.drift_monitor import DriftMonitor
from seer.training.events import Events
from seer.training.feature_stability import FeatureStability
from seer.training.loop import collect, freeze, learn
from seer.training.state import Schedule, TrainingState
from small_agent import ACTIONS, ALL_ON, FRAME_SHAPE, PARTS, STACK, make_agent, make_batch

FROZEN = [Phase.LATENTS, Phase.FROZEN_FRAMES]
every_agent = pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict[str, Tensor], module: torch.nn.Module) -> bool:
    """Bit for bit."""
    after = module.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def learn_a_little(agent: Rainbow, *, updates: int, seed: int = 10) -> list[Update]:
    latents = agent.phase is Phase.LATENTS
    return [agent.update(make_batch(agent, latents=latents, seed=seed + k)) for k in range(updates)]


def observations(count: int, seed: int = 0) -> Pixels:
    """Patterns [count, S, C, H, W] of black and white squares, which look less alike than noise does."""
    squares = np.random.default_rng(seed).integers(0, 2, size=(count, STACK, 1, 3, 3), dtype=np.uint8)
    return (squares * 255).repeat(10, axis=-2).repeat(10, axis=-1)


# (a) The seam: frames or latents, the update is the same -----------------------------------------------------------


def filled_replay() -> Replay:
    """A ring of 50 rows that has wrapped, with a terminated, a truncated and an open episode."""
    replay = Replay(
        memory=MemoryBlock(50 * 900),
        frame=RowFormat(FRAME_SHAPE, torch.uint8),
        stack=STACK,
        action=RowFormat((), torch.int64),
        n_step=3,
        discount=0.9,
        sampler=Everything(),
        rng=np.random.default_rng(0),
    )
    rng = np.random.default_rng(1)
    for step in range(70):
        frame, final = rng.integers(0, 256, size=(2, *FRAME_SHAPE), dtype=np.uint8)
        replay.append(
            frame, rng.integers(ACTIONS), rng.normal(), terminated=step == 37, truncated=step == 55, final_row=final
        )
    return replay


def by_index(batch: Batch) -> Batch:
    """The same samples, oldest row first, with weights that differ."""
    order = torch.from_numpy(np.argsort(batch.index))
    tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "index"}
    tensors = {name: tensor[order] for name, tensor in tensors.items()}
    tensors["weight"] = torch.linspace(0.1, 1, len(order))
    return Batch(**tensors, index=batch.index[order.numpy()])


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Equal but for the order in which convolutions sum up batches of different size."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


@every_agent
def test_frozen_frames_and_latents_give_the_same_update(parts: dict[str, Any]) -> None:
    """Same rows, same noise: same errors, same gradients of the head, same head afterwards."""
    twins = {phase: make_agent(**parts) for phase in FROZEN}
    results: dict[Phase, Update] = {}
    batches: dict[Phase, Batch] = {}
    for phase, agent in twins.items():
        learn_a_little(agent, updates=4)  # so that the target isn't the online network
        replay = filled_replay()
        agent.freeze(phase)
        if phase is Phase.LATENTS:
            assert replay.transcode(agent.encode, agent.latent).converted
        batches[phase] = by_index(replay.sample(1))
        results[phase] = agent.update(batches[phase])
    latents, frames = (batches[phase] for phase in FROZEN)
    assert latents.index.tolist() == frames.index.tolist()
    assert len(frames.index) > 40
    assert latents.now.dtype == torch.float32
    assert frames.now.dtype == torch.uint8
    assert_close(results[Phase.LATENTS].metrics, results[Phase.FROZEN_FRAMES].metrics)
    priorities = [cast(Tensor, results[phase].priority) for phase in FROZEN]
    torch.testing.assert_close(*priorities, rtol=1e-4, atol=1e-6)
    heads = [twins[phase].online.head for phase in FROZEN]
    assert len(gradients(heads[0])) == len(list(heads[0].parameters()))
    assert_close(gradients(heads[0]), gradients(heads[1]))
    # Adam turns the sign of a gradient near zero into a whole step of 1e-3, so afterwards only most are compared.
    close = [(a - b).abs() < 1e-5 for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True)]
    assert torch.cat([part.flatten() for part in close]).float().mean() > 0.99


@every_agent
@pytest.mark.parametrize("phase", [Phase.FRAMES, Phase.FROZEN_FRAMES])
def test_products_on_patches_give_the_same_update(phase: Phase, parts: dict[str, Any]) -> None:
    """Only computed differently: same errors, same gradients."""
    results = []
    forms: tuple[ConvolutionForm, ...] = ("direct", "patches")
    for convolution in forms:
        agent = make_agent(**parts, convolution=convolution)
        learn_a_little(agent, updates=3)
        if phase is not Phase.FRAMES:
            agent.freeze(phase)
        (update,) = learn_a_little(agent, updates=1)
        results.append((update.metrics | {"priority": cast(Tensor, update.priority)}, gradients(agent.online)))
    for ours, theirs in zip(*results, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5)


@every_agent
def test_the_freeze_itself_changes_no_gradient_of_the_head(parts: dict[str, Any]) -> None:
    """While online and target encoder are the same, learning and frozen encoders lead to the same update above."""
    learning, frozen = make_agent(**parts), make_agent(**parts)
    frozen.freeze(Phase.FROZEN_FRAMES)
    batch = make_batch(learning)
    ours, theirs = learning.update(batch), frozen.update(batch)
    torch.testing.assert_close(ours.metrics["loss"], theirs.metrics["loss"])
    assert_close(gradients(learning.online.head), gradients(frozen.online.head))
    assert gradients(learning.online.encoder)
    assert not gradients(frozen.online.encoder)


def test_next_observations_are_encoded_by_both_encoders_before_the_freeze() -> None:
    agent = make_agent()
    batch = make_batch(agent)
    with torch.no_grad():
        for parameter in agent.target.encoder.parameters():
            parameter.mul_(0.5)
    now, next_online, next_target = agent.embed(batch)
    online, target = agent.online.encoder, agent.target.encoder
    torch.testing.assert_close((now,), online(online.pixels(batch.now)))
    torch.testing.assert_close((next_online,), online(online.pixels(batch.next)))
    torch.testing.assert_close((next_target,), target(online.pixels(batch.next)))
    assert not torch.allclose(next_online, next_target)
    assert now.requires_grad
    assert not next_online.requires_grad
    assert not next_target.requires_grad


def tied(agent: Rainbow) -> bool:
    """Whether both networks have the same frozen layers."""
    stages = zip(agent.online.encoder.stages, agent.target.encoder.stages, strict=True)
    return all(online is target for online, target in stages)


# (c) The freeze ----------------------------------------------------------------------------------------------------


@every_agent
@pytest.mark.parametrize("phase", FROZEN)
def test_frozen_layers_stay_bit_for_bit(phase: Phase, parts: dict[str, Any]) -> None:
    agent = make_agent(**parts)
    fresh = snapshot(agent.online.encoder)
    learn_a_little(agent, updates=4)
    assert not same(fresh, agent.online.encoder)  # it did learn
    assert gradients(agent.online.encoder)
    before, head = snapshot(agent.online.encoder), snapshot(agent.online.head)
    agent.freeze(phase)
    assert agent.phase is phase
    for result in learn_a_little(agent, updates=40):
        norm = torch.cat([gradient.flatten() for gradient in gradients(agent.online.head).values()]).norm()
        assert result.metrics["gradient_norm"] > 0
    torch.testing.assert_close(result.metrics["gradient_norm"], norm)  # the last one: the head's alone
    assert same(before, agent.online.encoder)
    assert same(before, agent.target.encoder)
    assert not same(head, agent.online.head)
    assert not gradients(agent.online.encoder)
    assert not any(parameter.requires_grad for parameter in agent.online.encoder.parameters())


@pytest.mark.parametrize("phase", FROZEN)
def test_the_freeze_ties_encoders_not_heads_and_drops_the_optimiser(phase: Phase) -> None:
    agent = make_agent()
    learn_a_little(agent, updates=2)  # target_every is 3: the encoders differ by now
    assert not same(snapshot(agent.online.encoder), agent.target.encoder)
    head = snapshot(agent.target.head)
    agent.freeze(phase)
    assert tied(agent)
    assert agent.target.head is not agent.online.head
    assert same(head, agent.target.head)
    assert agent.optimizers.keys() == {"head"}
    optimised = {id(p) for group in agent.optimizers["head"].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in agent.online.head.parameters()}


@pytest.mark.parametrize("phase", list(Phase))
def test_the_target_is_a_copy_made_every_n_updates(phase: Phase) -> None:
    agent = make_agent(target_every=3)
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    copied = snapshot(agent.target)
    for number in range(1, 10):
        learn_a_little(agent, updates=1, seed=number)
        if number % 3 == 0:
            copied = snapshot(agent.online)
        assert same(copied, agent.target), number
        assert same(copied, agent.online) == (number % 3 == 0), number
    assert not any(parameter.requires_grad for parameter in agent.target.head.parameters())
    assert not gradients(agent.target.head)


@pytest.mark.parametrize("phase", list(Phase))
def test_gradients_are_clipped_together(phase: Phase) -> None:
    agent = make_agent(max_gradient_norm=1e-3)
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    (result,) = learn_a_little(agent, updates=1)
    clipped = torch.cat([gradient.flatten() for gradient in gradients(agent.online).values()]).norm()
    assert result.metrics["gradient_norm"] > 1e-2
    assert clipped == pytest.approx(1e-3, rel=1e-3)


# Parts on and off --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("distributional", [True, False])
@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_an_update_descends_on_the_error_by_hand(
    double: bool, distributional: bool, dueling: bool, noisy: bool
) -> None:
    """Sample by sample: who chooses the next action, who values it, which output learns, what the weights do."""
    parts = {"double": double, "distributional": distributional, "dueling": dueling, "noisy": noisy}
    agent, other = make_agent(**parts), make_agent(**parts, seed=5)
    agent.target.load_state_dict(other.online.state_dict())
    batch = make_batch(agent, size=32)
    online, target, value = copy.deepcopy(agent.online), copy.deepcopy(agent.target), agent.value
    generator = torch.Generator()
    generator.set_state(agent.generator.get_state())
    noises = [network.head.draw_noise(generator) for network in (online, target)]
    errors, priorities, q_values, disagreements = [], [], [], 0
    for b in range(32):
        with torch.no_grad():
            now, after = (agent.online.encoder.pixels(part[b : b + 1]) for part in (batch.now, batch.next))
            outputs = online.head(*online.encoder(now), noises[0])[0]  # [A, Z]
            ours, theirs = (
                network.head(*network.encoder(after), noise)[0]
                for network, noise in zip((online, target), noises, strict=True)
            )
            best_online, best_target = (int(value.expected(part[None])[0].argmax()) for part in (ours, theirs))
            disagreements += best_online != best_target
            best, action = best_online if double else best_target, int(batch.action[b])
            reward, discount = batch.reward[b : b + 1], batch.discount[b : b + 1]
            errors.append(value.error(outputs[action][None], theirs[best][None], reward, discount)[0])
            distance = outputs[action, 0] - (reward + discount * theirs[best, 0])[0]  # where Z is 1
            priorities.append(errors[-1] if distributional else distance.abs())
            q_values.append(value.expected(outputs[None])[0, action])
    assert disagreements > 5  # or the test couldn't tell double Q from single
    result = agent.update(batch)
    assert result.priority is not None
    assert not result.priority.requires_grad
    torch.testing.assert_close(result.priority, torch.stack(priorities), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.metrics["loss"], (batch.weight * torch.stack(errors)).mean())
    torch.testing.assert_close(result.metrics["q_mean"], torch.stack(q_values).mean(), rtol=1e-4, atol=1e-5)


def test_updates_lower_the_loss_of_their_batch() -> None:
    for parts in PARTS.values():
        agent = make_agent(**parts, target_every=10_000)
        batch = make_batch(agent)
        losses = [float(agent.update(batch).metrics["loss"]) for _ in range(60)]
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.02, parts


def listen(agent: Rainbow, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[Noise]]]:
    """Every noise drawn from now on, and whose."""
    drawn: list[tuple[str, list[Noise]]] = []
    for name, network in (("online", agent.online), ("target", agent.target)):

        def draw(generator: torch.Generator, name: str = name, head: ValueHead = network.head) -> list[Noise]:
            drawn.append((name, ValueHead.draw_noise(head, generator)))
            return drawn[-1][1]

        monkeypatch.setattr(network.head, "draw_noise", draw)
    return drawn


@pytest.mark.parametrize("phase", list(Phase))
def test_every_update_draws_noise_for_both_networks(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent()
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    drawn = listen(agent, monkeypatch)
    learn_a_little(agent, updates=3)
    assert [name for name, _ in drawn] == ["online", "target"] * 3
    layers = [tuple(noise.inputs[:8].tolist()) for _, noises in drawn for noise in noises]
    assert len(layers) == len(set(layers)) == 3 * 2 * 4


@every_agent
def test_metrics_are_numbers_without_a_graph(parts: dict[str, Any]) -> None:
    """Summed up over a thousand updates, graphs would be a leak."""
    (result,) = learn_a_little(make_agent(**parts), updates=1)
    assert result.metrics.keys() == {"loss", "q_mean", "gradient_norm"}
    assert all(metric.ndim == 0 and not metric.requires_grad for metric in result.metrics.values())


def test_parts_off_are_not_there() -> None:
    agent = make_agent(**PARTS["dqn"])
    assert agent.online.head.value is None
    assert agent.online.head.num_atoms == 1
    assert not agent.online.head.draw_noise(torch.Generator())


# Acting ------------------------------------------------------------------------------------------------------------


def greedy(agent: Rainbow, observation: Pixels) -> int:
    encoder, head = agent.online.encoder, agent.online.head
    with torch.no_grad():
        (latent,) = encoder(encoder.pixels(torch.from_numpy(observation)[None]))
        return int(agent.value.expected(head(latent))[0].argmax())


def sharpened(agent: Rainbow) -> Rainbow:
    """Without biases and with large features: values depend on what is seen, and rounding decides no action."""
    with torch.no_grad():
        for name, parameter in agent.online.named_parameters():
            parameter.mul_(0 if name.endswith("bias") else 3)
    return agent


@every_agent
def test_act_is_greedy_without_noise_and_leaves_no_trace(parts: dict[str, Any]) -> None:
    agent = sharpened(make_agent(**parts, epsilon=Epsilon(1, 1, 1), seed=4))
    before = agent.state_dict()
    generator, rng = before["generators"]["noise"].clone(), before["generators"]["exploration"]
    seen = observations(30)
    actions = agent.act(seen)
    assert actions.dtype == np.int64
    assert actions.tolist() == [greedy(agent, observation) for observation in seen]
    assert len(set(actions.tolist())) > 1
    assert agent.act(seen).tolist() == actions.tolist()
    assert torch.equal(agent.generator.get_state(), generator)
    assert agent.rng.bit_generator.state == rng
    assert agent.decisions == 0


def test_epsilon_falls_linearly_and_then_stays() -> None:
    epsilon = Epsilon(start=1.0, end=0.1, steps=100)
    assert [epsilon.at(step) for step in (0, 50, 100, 5000)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_dqn_explores_by_epsilon() -> None:
    """Uniformly at first, later with probability epsilon, and greedily otherwise."""
    agent = sharpened(make_agent(**PARTS["dqn"], epsilon=Epsilon(start=1.0, end=0.2, steps=1000)))
    observation = observations(1)[0]
    best = greedy(agent, observation)
    agent.decisions = 0
    first = []
    for _ in range(400):
        first.append(agent.explore(observation)[0])
        agent.decisions = 0
    counts = Counter(first)
    assert all(abs(counts[action] / 400 - 1 / ACTIONS) < 0.09 for action in range(ACTIONS))  # four deviations
    agent.decisions = 1000
    later = Counter(agent.explore(observation)[0] for _ in range(600))
    assert agent.decisions == 1600
    others = 1 - later[best] / 600
    assert others == pytest.approx(0.2 * (ACTIONS - 1) / ACTIONS, abs=0.06)


def test_without_epsilon_and_noise_decisions_are_greedy() -> None:
    agent = sharpened(make_agent(**ALL_ON | {"noisy": False}))
    for observation in observations(20):
        assert agent.explore(observation)[0] == greedy(agent, observation)


def test_rainbow_explores_by_noise_drawn_for_every_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent()
    observation = observations(1)[0]
    drawn = listen(agent, monkeypatch)
    assert len({agent.explore(observation)[0] for _ in range(60)}) > 1
    agent.act(observation[None])
    assert [name for name, _ in drawn] == ["online"] * 60


@pytest.mark.parametrize("phase", list(Phase))
def test_rows_are_newest_frames_or_latents(phase: Phase) -> None:
    agent = make_agent()
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    observation = observations(1)[0]
    expected = torch.from_numpy(observation[-1])
    if phase is Phase.LATENTS:
        expected = agent.encode(torch.from_numpy(observation)[None])[0]
        assert expected.shape == agent.latent.shape == (1, 1, 64)
    for row in (agent.explore(observation)[1], agent.row(observation)):
        assert torch.equal(row, expected)
        assert not row.requires_grad


# State -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convolution", ["direct", "patches"])
@pytest.mark.parametrize("name", ["rainbow", "dqn"])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_restored_agent_goes_on_bit_for_bit(
    phase: Phase, name: str, convolution: ConvolutionForm, tmp_path: Path
) -> None:
    """Through a checkpoint on disk, into an agent that was made with other seeds."""
    options: dict[str, Any] = {"epsilon": Epsilon(1.0, 0.3, 20), "convolution": convolution}
    agent = make_agent(**PARTS[name], **options)
    learn_a_little(agent, updates=4)
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
        learn_a_little(agent, updates=4)
    for observation in observations(8):
        agent.explore(observation)
    state = load_checkpoint(save_checkpoint(tmp_path, 1, {"agent": agent.state_dict()}))["agent"]
    restored = make_agent(**PARTS[name], **options, seed=77)
    restored.load_state_dict(state)
    assert restored.phase is phase
    assert tied(restored) == (phase is not Phase.FRAMES)
    assert restored.target.head is not restored.online.head
    for round_number in range(5):
        seen = observations(3, seed=round_number)
        for observation in seen:
            ours, theirs = agent.explore(observation), restored.explore(observation)
            assert ours[0] == theirs[0]
            assert torch.equal(ours[1], theirs[1])
        assert agent.act(seen).tolist() == restored.act(seen).tolist()
        (one,), (other,) = (learn_a_little(part, updates=1, seed=round_number) for part in (agent, restored))
        assert all(torch.equal(one.metrics[key], other.metrics[key]) for key in one.metrics)
        assert torch.equal(cast(Tensor, one.priority), cast(Tensor, other.priority))
    assert same(snapshot(agent.online), restored.online)
    assert same(snapshot(agent.target), restored.target)


def test_a_state_names_everything_that_decides_the_future() -> None:
    """Two agents of different seeds differ in each part of their states but the phase and the counters."""
    states = [make_agent(seed=seed).state_dict() for seed in (0, 1)]
    assert states[0].keys() == {
        "phase", "updates", "decisions", "modules", "optimizers", "generators",
    }  # fmt: skip
    first, second = (state["generators"] for state in states)
    assert states[0]["modules"].keys() == {"online", "target"}
    assert first.keys() == {"noise", "exploration"}
    assert not torch.equal(first["noise"], second["noise"])
    assert first["exploration"] != second["exploration"]


# Learning ----------------------------------------------------------------------------------------------------------

BAND = 10  # rows of pixels


class ShownAction(PixelEnvironment):
    """Paints a bright band that says which of three actions pays: the band's number, plus `shift`, modulo 3.

    Episodes of 5 steps terminate and are truncated in turn.
    """

    def __init__(self, frame_shape: tuple[int, int, int] = FRAME_SHAPE) -> None:
        super().__init__(frame_shape, stack=STACK, action_repeat=1, action_space=gymnasium.spaces.Discrete(3))
        self.shift = 0
        self._rng = np.random.default_rng(0)
        self._shown = self._steps = self._episodes = 0

    def render(self) -> Pixels:
        raise NotImplementedError

    def paint(self, shown: int) -> Pixels:
        frame = np.zeros(self.frame_shape, np.uint8)
        frame[:, shown * BAND : (shown + 1) * BAND] = 255
        return frame

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        self._steps = 0
        self._episodes += 1
        return self._show(), {}

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        reward = float(action == (self._shown + self.shift) % 3)
        self._steps += 1
        over, truncated = self._steps == 5, self._episodes % 2 == 0
        return self._show(), reward, over and not truncated, over and truncated, {}

    def _show(self) -> Pixels:
        self._shown = int(self._rng.integers(3))
        return self.paint(self._shown)

    def _simulator_state(self) -> State:
        raise NotImplementedError

    def _load_simulator_state(self, state: State) -> None:
        raise NotImplementedError


def accuracy(run: TrainingState) -> float:
    """Of greedy actions, over all pairs of an earlier and a newest frame."""
    environment = cast(ShownAction, run.environment)
    pairs = [(earlier, newest) for earlier in range(3) for newest in range(3)]
    seen = np.stack([[environment.paint(band) for band in pair] for pair in pairs])
    paying = [(newest + environment.shift) % 3 for _, newest in pairs]
    return float(np.mean(run.agent.act(seen) == paying))


class Silent:
    """Events that nobody records."""

    def on_freeze_start(self) -> None: ...
    def on_conversion_progress(self, done: int, total: int) -> None: ...
    def on_freeze(self, transcoding: Any, changes: Any) -> None: ...


def make_run(parts: dict[str, Any], layers: tuple[Convolution, ...]) -> TrainingState:
    environment = ShownAction()
    agent = make_agent(
        **parts, layers=layers, num_actions=3, target_every=25, epsilon=Epsilon(1, 0.1, 300),
        make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )  # fmt: skip
    replay = Replay(
        memory=MemoryBlock(80 * 900),
        frame=RowFormat(FRAME_SHAPE, torch.uint8),
        stack=STACK,
        action=RowFormat((), torch.int64),
        n_step=2,
        discount=0.5,
        sampler=Prioritized() if parts["double"] else Uniform(),
        rng=np.random.default_rng(3),
    )
    schedule = Schedule(
        steps=2000, first_update=20, updates_per_step=1, batch_size=16, importance_exponent=0.4, log_every=1,
        eval_every=1, eval_episodes=1, checkpoint_every=1,
    )  # fmt: skip
    environment.reset()
    return TrainingState(
        agent=agent,
        replay=replay,
        environment=environment,
        evaluator=cast(Any, None),
        freeze_rule=FreezeAt(None),
        feature_stability=FeatureStability(observations=8, every=10),
        drift_monitor=DriftMonitor(observations=8, every=10),
        renew=cast(Any, None),
        schedule=schedule,
        ledger=FlopsLedger(agent.cost),
    )


def train(run: TrainingState, steps: int) -> None:
    for _ in range(steps):
        run.step += 1
        collect(run)
        if run.step >= run.schedule.first_update:
            learn(run)


LARGE = (Convolution(32, 5, 5),)  # 32x6x6 float32 are more bytes than 30x30 pixels
TO_LATENTS, TO_FROZEN_FRAMES = (DATA_EFFICIENT, Phase.LATENTS), (LARGE, Phase.FROZEN_FRAMES)


@pytest.mark.parametrize("name", ["rainbow", "dqn"])
@pytest.mark.parametrize(("layers", "phase"), [TO_LATENTS, TO_FROZEN_FRAMES], ids=["latents", "frozen-frames"])
def test_it_learns_before_the_freeze_and_learns_anew_after_it(
    name: str, layers: tuple[Convolution, ...], phase: Phase
) -> None:
    """After the freeze another action pays, so that what was learnt before is worth nothing."""
    run = make_run(PARTS[name], layers)
    train(run, 200)
    assert accuracy(run) == 1
    freeze(run, cast(Events, Silent()), StopSignal(print))
    assert run.agent.phase is phase
    assert run.replay.holds_latents == (phase is Phase.LATENTS)
    assert accuracy(run) == 1  # the freeze forgets nothing
    cast(ShownAction, run.environment).shift = 1
    assert accuracy(run) == 0
    train(run, 450)
    assert accuracy(run) == 1


@pytest.mark.parametrize("name", ["rainbow", "dqn"])
def test_it_learns_from_latents_of_an_encoder_that_never_did(name: str) -> None:
    run = make_run(PARTS[name], DATA_EFFICIENT)
    train(run, 19)
    freeze(run, cast(Events, Silent()), StopSignal(print))
    train(run, 400)
    assert accuracy(run) == 1
