"""DrQ-v2: the seam, the freeze, shifts, noise and cost, on small images and random experience."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seer.agents.actor_critic import ACTOR, CRITIC
from seer.agents.drqv2 import DrqV2, DrqV2Settings
from seer.core.phase import Phase
from seer.core.stages import unchanged
from seer.errors import SettingError
from seer.export.graphs import policy_of
from seer.networks.drqv2 import random_shift
from seer.presets import preset
from seer.replay import Batch, Replay
from small_drqv2 import (
    ACTIONS,
    HIDDEN,
    LATENT,
    NOISE_STEPS,
    PAD,
    RANDOM_STEPS,
    SIDE,
    SIZE,
    make,
    make_config,
    random_batch,
)
from small_sac import experience

AFTER_ONE = (SIDE - 3) // 2 + 1  # side after the first convolution
FIRST_CONVOLUTION = AFTER_ONE**2 * 32 * 9 * 9
ACTOR_FIRST, CRITICS_FIRST = LATENT * HIDDEN, 2 * (LATENT + ACTIONS) * HIDDEN


def play(agent: DrqV2, replay: Replay, steps: int, seed: int = 0) -> None:
    experience(agent, replay, steps, seed)  # type: ignore[arg-type]  # it asks of SAC what every agent has


def shifted_batch(agent: DrqV2, crops: int) -> tuple[Batch, Batch]:
    """The same samples twice: as frames already shifted, and as the latents that transcoding would have stored."""
    frames, encoder = random_batch(3, latents=False), agent.online.encoder
    picked = torch.randint(crops, (SIZE,), generator=torch.Generator().manual_seed(1))
    seen, stored = [], []
    for number, whole in enumerate((frames.now, frames.next)):
        views = random_shift(whole.repeat_interleave(crops, 0), PAD, torch.Generator().manual_seed(number))
        with torch.no_grad():
            latents = encoder.encode(encoder.pixels(views)).unflatten(0, (SIZE, crops))
        seen.append(views.unflatten(0, (SIZE, crops))[torch.arange(SIZE), picked])
        stored.append(latents[torch.arange(SIZE), picked])
    return (
        dataclasses.replace(frames, now=seen[0], next=seen[1]),
        dataclasses.replace(frames, now=stored[0], next=stored[1]),
    )


# The seam and the freeze ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("crops", [1, 4])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_seam_gives_equal_gradients_on_both_sides(precision: str, crops: int) -> None:
    on_frames, _ = make(make_config(crops=crops, precision=precision))
    on_latents = copy.deepcopy(on_frames)
    on_frames.freeze(Phase.FROZEN_FRAMES)
    on_frames.online.encoder.augment = unchanged  # they are shifted already
    on_latents.freeze(Phase.LATENTS)
    frames, latents = shifted_batch(on_frames, crops)
    for agent, batch in ((on_frames, frames), (on_latents, latents)):
        agent.random.policy.manual_seed(5)
        agent.update(batch)
    for (name, left), right in zip(parameters_above(on_frames), parameters_above(on_latents), strict=True):
        assert left.grad is not None
        assert left.grad.abs().sum() > 0, name
        # A bfloat16 convolution of 8 images needn't round as one of 32 does.
        relative = 1e-4 if precision == "float32" else 2e-2
        assert torch.dist(left.grad, right[1].grad) <= relative * left.grad.norm(), name


def parameters_above(agent: DrqV2) -> list[tuple[str, torch.nn.Parameter]]:
    return [*agent.online.head.named_parameters(), *agent.actor.named_parameters()]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("layers", ["all", "4", "2"])
def test_the_last_layer_may_be_passed_apart_from_those_below(layers: str, phase: Phase) -> None:
    agent, _ = make(make_config(layers=layers))
    encoder = agent.online.encoder
    frames = random_batch(0, latents=False).now
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    with torch.no_grad():
        stored = encoder.encode_rows(frames)[:, 0] if phase is Phase.LATENTS else frames
        prepared = encoder.prepare(stored)
        whole, below = encoder.embed(prepared), encoder.embed_below(prepared)
        for latent in (CRITIC, ACTOR):
            assert torch.equal(encoder.embed_last(below, latent), whole[latent])
            assert torch.equal(encoder.embed_one(prepared, latent), whole[latent])


@pytest.mark.parametrize(("layers", "phase"), [("all", Phase.LATENTS), ("2", Phase.FROZEN_FRAMES)])
def test_frozen_stays_frozen_and_the_rest_learns(layers: str, phase: Phase) -> None:
    agent, replay = make(make_config(layers=layers))
    play(agent, replay, 60)
    for _ in range(3):
        agent.update(replay.sample(SIZE))
    agent.freeze_and_transcode(replay)
    assert agent.phase is phase
    encoders = agent.online.encoder, agent.target.encoder
    frozen = [parameter.clone() for encoder in encoders for parameter in encoder.base_parameters()]
    others = [*agent.online.encoder.above_parameters(), *(weight for _, weight in parameters_above(agent))]
    before = [parameter.clone() for parameter in others]
    play(agent, replay, 30, seed=1)
    for _ in range(6):
        agent.update(replay.sample(SIZE))
    now = [parameter for encoder in encoders for parameter in encoder.base_parameters()]
    assert all(torch.equal(old, new) and new.grad is None for old, new in zip(frozen, now, strict=True))
    assert not any(torch.equal(old, new) for old, new in zip(before, others, strict=True))
    assert all(ours is theirs for ours, theirs in zip(*(encoder.base for encoder in encoders), strict=True))
    assert set(agent.optimizers) == {"critic", "actor"}


def test_stored_rows_are_shifted_views_of_each_observation_in_turn() -> None:
    agent, replay = make()
    play(agent, replay, 40)
    frames = replay.read(replay.recent(8, span=40))
    agent.random.crops.manual_seed(7)
    rows = agent.encode(frames)
    assert rows.shape == (8, 4, 2, LATENT)
    views = random_shift(frames.repeat_interleave(4, 0), PAD, torch.Generator().manual_seed(7))
    encoder = agent.online.encoder
    with torch.no_grad():
        for view, row in zip(views, rows.flatten(0, 1), strict=True):
            pixels = view[None].flatten(1, 2).float() / 255 - 0.5
            torch.testing.assert_close(torch.stack(encoder(pixels), 1)[0], row, rtol=1e-4, atol=1e-4)


def test_the_actors_gradient_reaches_its_own_trunk_alone_and_the_critics_the_convolutions() -> None:
    agent, _ = make()
    encoder, batch = agent.online.encoder, random_batch(0, latents=False)
    *convolutions, trunks = encoder.stages
    below = encoder.embed_below(encoder.prepare(batch.now))
    agent.actor_loss(below).backward()
    assert all(p.grad is None for stage in convolutions for p in stage.parameters())
    assert all(p.grad is None for p in [*agent.online.head.parameters(), *trunks.linear[CRITIC].parameters()])
    assert trunks.linear[ACTOR].weight.grad.abs().sum() > 0
    assert all(p.requires_grad for p in agent.online.head.parameters())
    trunks.zero_grad()
    agent.critic_loss(batch, encoder.embed_last(below, CRITIC), encoder.prepare(batch.next))[0].backward()
    assert all(p.grad.abs().sum() > 0 for stage in convolutions for p in stage.parameters())
    assert trunks.linear[ACTOR].weight.grad is None
    assert all(p.grad is None for p in agent.target.head.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_state_round_trip_continues_identically(frozen: bool) -> None:
    agent, replay = make()
    play(agent, replay, 40)
    agent.update(replay.sample(SIZE))
    if frozen:
        agent.freeze_and_transcode(replay)
    fresh, _ = make(seed=9)
    fresh.load_state_dict(copy.deepcopy(agent.state_dict()))
    batch = replay.sample(SIZE)
    observation = np.full((3, 3, SIDE, SIDE), 77, np.uint8)
    for _ in range(3):
        left, right = agent.update(batch), fresh.update(batch)
        assert {k: v.item() for k, v in left.metrics.items()} == {k: v.item() for k, v in right.metrics.items()}
        np.testing.assert_array_equal(agent.explore(observation)[0], fresh.explore(observation)[0])


def test_a_reset_renews_actor_and_critics_and_leaves_one_row_of_convolutions() -> None:
    agent, replay = make()
    play(agent, replay, 40)
    agent.update(replay.sample(SIZE))
    fresh, _ = make(seed=9)
    before = copy.deepcopy(agent.state_dict()["modules"])
    agent.reset(fresh)
    for name, module in agent.modules().items():
        for label, weight in module.state_dict().items():
            expected = before[name] if label.startswith("encoder.") else fresh.modules()[name].state_dict()
            assert torch.equal(weight, expected[label]), (name, label)
    assert all(a is b for a, b in zip(agent.online.encoder.base[:4], agent.target.encoder.base[:4], strict=True))
    agent.update(replay.sample(SIZE))


# Shifts, noise, returns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", [1, 4])
def test_shifts_against_plain_loops(pad: int) -> None:
    frames = torch.randint(0, 256, (12, 2, 3, 9, 9), dtype=torch.uint8)
    moved = random_shift(frames, pad, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    tops, lefts = (torch.randint(2 * pad + 1, (12,), generator=generator).tolist() for _ in range(2))
    for each, picture, top, left in zip(moved, frames, tops, lefts, strict=True):
        for y in range(9):
            for x in range(9):
                row, column = min(max(y + top - pad, 0), 8), min(max(x + left - pad, 0), 8)
                assert torch.equal(each[..., y, x], picture[..., row, column])
    assert {0, 2 * pad} <= {*tops, *lefts}  # as far as it goes, to either side


@pytest.mark.parametrize(("decided", "expected"), [(0, 1.0), (20, 0.55), (30, 0.325), (40, 0.1), (120, 0.1)])
def test_the_noise_falls_linearly_with_decisions_and_then_stays(decided: int, expected: float) -> None:
    agent, _ = make()
    agent.decisions = decided
    assert agent.noise == pytest.approx(expected)
    zeros = torch.zeros(4000, 1)
    agent.random.policy.manual_seed(0)
    drawn = expected * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(agent.noisy(zeros), drawn.clamp(-1 + 1e-6, 1 - 1e-6))
    agent.random.policy.manual_seed(0)
    torch.testing.assert_close(agent.noisy(zeros, 0.3), drawn.clamp(-0.3, 0.3))


def test_acting_explores_by_noise_that_is_not_clipped() -> None:
    agent, _ = make()
    agent.decisions = 10 * NOISE_STEPS
    with torch.no_grad():
        agent.actor.layers[-1].weight.zero_()  # the policy always answers 0
    observation = np.zeros((3, 3, SIDE, SIDE), np.uint8)
    agent.random.policy.manual_seed(0)
    actions = np.stack([agent.explore(observation)[0] for _ in range(100)])
    generator = torch.Generator().manual_seed(0)
    expected = np.stack([0.1 * torch.randn(1, ACTIONS, generator=generator)[0].numpy() for _ in range(100)])
    np.testing.assert_allclose(actions, expected, rtol=1e-5)


def test_first_actions_are_uniform_and_later_ones_the_policys() -> None:
    agent, _ = make()
    with torch.no_grad():
        agent.actor.layers[-1].bias.fill_(50.0)  # the policy always answers 1
    observation = np.zeros((3, 3, SIDE, SIDE), np.uint8)
    actions = np.stack([agent.explore(observation)[0] for _ in range(RANDOM_STEPS + 40)])
    uniform = np.random.default_rng(2).uniform(-1, 1, (RANDOM_STEPS, ACTIONS)).astype(np.float32)
    np.testing.assert_array_equal(actions[:RANDOM_STEPS], uniform)
    assert (actions[RANDOM_STEPS:].mean(0) > 0.2).all()  # mean of 40 actions near 1, less noise of 1 to 0.1
    assert (agent.act(observation[None]) == 1).all()


def test_returns_are_of_three_steps() -> None:
    agent, replay = make()
    rewards = np.random.default_rng(0).normal(size=30)
    for number, reward in enumerate(rewards):
        picture = np.full((3, 3, SIDE, SIDE), number, np.uint8)
        replay.append(agent.row(picture), np.zeros(ACTIONS, np.float32), float(reward), terminated=False)
    batch = replay.sample(64)
    for now, following, reward, discount in zip(batch.now, batch.next, batch.reward, batch.discount, strict=True):
        step = int(now[-1, 0, 0, 0])
        assert int(following[-1, 0, 0, 0]) == step + 3
        assert reward.item() == pytest.approx(sum(0.99**n * rewards[step + n] for n in range(3)), rel=1e-4, abs=1e-5)
        assert discount.item() == pytest.approx(0.99**3)


def test_settings_are_those_of_the_publication() -> None:
    easy, medium, walker = (
        preset(f"dm_control/{task}-v0", "drqv2") for task in ("cartpole-swingup", "cheetah-run", "walker-walk")
    )
    assert easy.own == DrqV2Settings(shift=4, noise_start=1.0, noise_end=0.1, noise_steps=100_000, noise_clip=0.3)
    assert (medium.own.noise_steps, walker.own.noise_steps) == (500_000, 100_000)
    assert preset("dm_control/walker-run-v0", "drqv2").own.noise_steps == 500_000
    learning = easy.learning
    assert (easy.image.size, easy.image.stack, easy.image.action_repeat, easy.image.crop_size) == (84, 3, 2, None)
    assert (learning.batch_size, walker.learning.batch_size, learning.hidden_units) == (256, 512, 1024)
    assert (learning.learning_rate, learning.discount, learning.update_every, learning.first_update) == (
        1e-4,
        0.99,
        2,
        2000,
    )
    assert (easy.replay.n_step, walker.replay.n_step, easy.replay.prioritized) == (3, 1, False)
    assert (easy.sac.critic_tau, easy.sac.latent_size, easy.sac.random_steps, easy.freeze.num_crops) == (
        0.01,
        50,
        2000,
        4,
    )
    assert preset("Pendulum-v1", "drqv2").image.action_repeat == 1


def test_weights_are_orthogonal_at_first() -> None:
    agent, _ = make()
    convolution = agent.online.encoder.stages[1]
    assert isinstance(convolution, torch.nn.Conv2d)
    kernels = convolution.weight.flatten(1)
    torch.testing.assert_close(kernels @ kernels.T, 2 * torch.eye(32), atol=1e-4, rtol=0)
    trunk = agent.online.encoder.stages[-1].linear[ACTOR].weight
    torch.testing.assert_close(trunk @ trunk.T, torch.eye(LATENT), atol=1e-4, rtol=0)
    assert not convolution.bias.any()


def test_export_has_no_policy_for_it_and_says_so() -> None:
    with pytest.raises(SettingError, match=r"^seer export knows no policy of DrqV2"):
        policy_of(make()[0])


# Cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
def test_an_update_costs_what_pytorch_counts(phase: Phase) -> None:
    agent, _ = make()
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    with FlopCounterMode(display=False) as counter:
        agent.update(random_batch(0, latents=phase is Phase.LATENTS))
    # On frames pixels need no gradient; the critic's trunk is passed once more, for the actor, whose own trunk has a
    # backward pass to its weights alone. On latents heads need none to their inputs.
    saved = FIRST_CONVOLUTION if phase is Phase.FRAMES else ACTOR_FIRST + CRITICS_FIRST
    assert counter.get_total_flops() == 2 * (agent.cost.update(phase) - SIZE * saved)


def test_acting_and_storing_cost_what_pytorch_counts() -> None:
    agent, _ = make()
    frames = random_batch(0, latents=False).now
    with FlopCounterMode(display=False) as counter:
        agent.act(frames[:1].numpy())
    assert counter.get_total_flops() == 2 * agent.cost.act
    with FlopCounterMode(display=False) as counter:
        agent.encode(frames)
    assert counter.get_total_flops() == 2 * agent.cost.freeze(SIZE) // agent.cost.encoders
