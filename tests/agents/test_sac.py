"""SAC and CURL: the seam, the freeze, the losses, the cost, on small images and random experience."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seer.agents.actor_critic import ACTOR, CRITIC
from seer.agents.curl import Curl
from seer.core.phase import Phase
from small_sac import ACTIONS, CROP, SIDE, cropped_batch, experience, freeze, make, make_config


@pytest.mark.parametrize("encoder", ["sac-ae", "impala"])
@pytest.mark.parametrize("crops", [1, 4])
@pytest.mark.parametrize(
    ("name", "precision"), [("sac", "float32"), ("curl", "float32"), ("curl", "bfloat16")], ids="-".join
)
def test_the_seam_gives_equal_gradients_on_both_sides(name: str, precision: str, crops: int, encoder: str) -> None:
    on_frames, _ = make(make_config(name, encoder=encoder, crops=crops, precision=precision))
    on_latents = copy.deepcopy(on_frames)
    on_frames.freeze(Phase.FROZEN_FRAMES)
    on_latents.freeze(Phase.LATENTS)
    frames, latents = cropped_batch(on_frames, crops)
    for agent, batch in ((on_frames, frames), (on_latents, latents)):
        agent.random.policy.manual_seed(5)
        agent.update(batch)
    heads = lambda agent: [*agent.online.head.parameters(), *agent.actor.parameters(), agent.temperature.log]  # noqa: E731
    for left, right in zip(heads(on_frames), heads(on_latents), strict=True):
        assert left.grad is not None
        assert left.grad.abs().sum() > 0
        # A bfloat16 convolution of 8 images needn't round as one of 32 does.
        relative = 1e-4 if precision == "float32" else 2e-2
        assert torch.dist(left.grad, right.grad) <= relative * left.grad.norm()


@pytest.mark.parametrize(("encoder", "closest"), [("sac-ae", 0.98), ("impala", 0.8)])  # impala: 15 roundings
@pytest.mark.parametrize("name", ["sac", "curl"])
def test_bfloat16_learns_what_float32_learns(name: str, encoder: str, closest: float) -> None:
    exact, _ = make(make_config(name, encoder=encoder))
    fast, _ = make(make_config(name, encoder=encoder, precision="bfloat16"))
    # Adam's first step is as long for the smallest gradient, whose sign rounding decides; without steps losses compare.
    for agent in (exact, fast):
        for group in (group for optimizer in agent.optimizers.values() for group in optimizer.param_groups):
            group["lr"] = 0.0
    batch, _ = cropped_batch(exact, crops=1)
    updates = [agent.update(batch).metrics for agent in (exact, fast)]
    for loss, value in updates[0].items():
        torch.testing.assert_close(updates[1][loss], value, rtol=0.02, atol=0.02)
    for (label, left), (_, right) in zip(exact.online.named_parameters(), fast.online.named_parameters(), strict=True):
        if left.grad is None:  # CURL's last step is the encoder's alone
            assert label.startswith("head")
            continue
        assert right.grad is not None
        assert right.dtype == right.grad.dtype == torch.float32
        cosine = F.cosine_similarity(left.grad.flatten(), right.grad.flatten(), dim=0)
        assert cosine > closest, f"{label}: {cosine}"
    assert fast.encode(batch.now).dtype == torch.float32


@pytest.mark.parametrize("encoder", ["sac-ae", "impala"])
@pytest.mark.parametrize("crops", [1, 4])
def test_transcoded_rows_are_the_latents_of_their_crops(encoder: str, crops: int) -> None:
    agent, replay = make(make_config(encoder=encoder, crops=crops))
    experience(agent, replay, 150, seed=0)  # wraps
    twin = copy.deepcopy(replay)
    agent.random.crops.manual_seed(11)
    assert freeze(agent, replay) is Phase.LATENTS
    assert replay.row.shape == (crops, 2, 50)
    assert replay.capacity == 120 * 3 * SIDE * SIDE // (4 * 2 * 50 * crops)
    agent.random.crops.manual_seed(11)
    rows: list[torch.Tensor] = []
    twin.transcode(lambda frames: rows.append(agent.encode(frames)) or rows[-1], agent.latent)
    assert torch.equal(torch.cat(rows), replay._ring.memory.rows(replay.row)[: replay.size])


@pytest.mark.parametrize("crops", [1, 4])
def test_what_is_stored_are_crops_of_each_observation_in_turn(crops: int) -> None:
    """Against a loop over observations and crops, whose places are drawn as `random_crop` draws them."""
    agent, _ = make(make_config(crops=crops))
    agent.freeze(Phase.LATENTS)
    generator, encoder = torch.Generator(), agent.online.encoder
    frames = torch.randint(0, 256, (5, 3, 3, SIDE, SIDE), dtype=torch.uint8)

    def by_hand(frames: torch.Tensor) -> torch.Tensor:
        generator.manual_seed(11)
        top, left = (torch.randint(SIDE - CROP + 1, (len(frames), crops), generator=generator) for _ in range(2))
        rows = [
            encoder.encode(encoder.pixels(frame[None, ..., y : y + CROP, x : x + CROP]))[0]
            for b, frame in enumerate(frames)
            for y, x in zip(top[b].tolist(), left[b].tolist(), strict=True)
        ]
        return torch.stack(rows).view(len(frames), crops, 2, 50)

    with torch.no_grad():
        agent.random.crops.manual_seed(11)
        torch.testing.assert_close(agent.encode(frames), by_hand(frames), rtol=1e-4, atol=1e-4)
        agent.random.crops.manual_seed(11)
        _, row = agent.explore(frames[0].numpy())
        torch.testing.assert_close(row, by_hand(frames[:1])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("layers", "crops", "phase"), [("all", 4, Phase.LATENTS), ("2", 4, Phase.FROZEN_FRAMES)])
def test_frozen_stays_frozen_and_the_rest_learns(layers: str, crops: int, phase: Phase) -> None:
    agent, replay = make(make_config(layers=layers, crops=crops))
    experience(agent, replay, 60, seed=0)
    for _ in range(3):
        agent.update(replay.sample(8))
    assert freeze(agent, replay) is phase
    frozen = [parameter.clone() for parameter in agent.online.encoder.base_parameters()]
    above = [parameter.clone() for parameter in agent.online.encoder.above_parameters()]
    heads = [parameter.clone() for parameter in agent.online.head.parameters()]
    experience(agent, replay, 30, seed=1)
    for _ in range(6):
        agent.update(replay.sample(8))
    now = agent.online.encoder.base_parameters()
    assert all(torch.equal(old, new) for old, new in zip(frozen, now, strict=True))
    assert all(parameter.grad is None for parameter in now)
    for online, target in zip(agent.online.encoder.base, agent.target.encoder.base, strict=True):
        assert online is target
    assert not any(torch.equal(o, n) for o, n in zip(above, agent.online.encoder.above_parameters(), strict=True))
    assert not any(torch.equal(o, n) for o, n in zip(heads, agent.online.head.parameters(), strict=True))
    assert set(agent.optimizers) == {"critic", "actor", "temperature"}


def test_rows_after_the_layer_norm_equal_the_papers_cut() -> None:
    """Nothing below the LayerNorm's output trains after the freeze, so storing before it would change nothing."""
    agent, _ = make(make_config())
    agent.freeze(Phase.LATENTS)
    encoder = agent.online.encoder
    frames = torch.randint(0, 256, (6, 3, 3, CROP, CROP), dtype=torch.uint8)
    projections = encoder.stages[-1]
    with torch.no_grad():
        maps = encoder.pixels(frames)
        for stage in list(encoder.stages)[:-1]:
            maps = stage(maps)
        flat = maps.permute(0, 2, 3, 1).flatten(1)
        before_norm = [linear(flat) for linear in projections.linear]
        later = [F.layer_norm(z, (50,), n.weight, n.bias) for z, n in zip(before_norm, projections.norm, strict=True)]
        stored = encoder.encode(encoder.pixels(frames))
    torch.testing.assert_close(stored, torch.stack(later, 1), atol=1e-5, rtol=1e-4)
    assert not any(p.requires_grad for p in projections.parameters())


def test_the_actors_gradient_stops_before_the_convolutions() -> None:
    agent, replay = make(make_config("sac"))
    experience(agent, replay, 30, seed=0)
    batch = replay.sample(8)
    encoder = agent.online.encoder
    losses = agent.actor_losses(encoder.embed(encoder.prepare(batch.now)))
    torch.stack(list(losses.values())).sum().backward()
    *convolutions, projections = agent.online.encoder.stages
    assert all(p.grad is None for stage in convolutions for p in stage.parameters())
    assert all(p.grad is None for p in agent.online.head.parameters())
    assert projections.linear[CRITIC].weight.grad is None
    assert projections.linear[ACTOR].weight.grad.abs().sum() > 0


def test_losses_against_a_loop() -> None:
    agent, replay = make(make_config("sac"))
    experience(agent, replay, 30, seed=0)
    batch = replay.sample(8)
    online, target = agent.online.encoder, agent.target.encoder
    following = online.prepare(batch.next)
    now = online.embed(online.prepare(batch.now))
    next_actor, next_critic = online.embed(following)[ACTOR], target.embed(following)[CRITIC]
    agent.random.policy.manual_seed(3)
    loss, _ = agent.critic_loss(batch, now[CRITIC], next_actor, next_critic)
    agent.random.policy.manual_seed(3)
    action, log_probability = agent.actor.sample(next_actor, agent.random.policy)
    temperature, total = agent.temperature().item(), 0.0
    for i in range(8):
        inputs = torch.cat([next_critic[i], action[i]])
        target = min(agent.target.head.first(inputs).item(), agent.target.head.second(inputs).item())
        goal = batch.reward[i] + batch.discount[i] * (target - temperature * log_probability[i].item())
        taken = torch.cat([now[CRITIC][i], batch.action[i]])
        for critic in (agent.online.head.first, agent.online.head.second):
            total += (critic(taken).item() - goal.item()) ** 2 / 8
    assert loss.item() == pytest.approx(total, rel=1e-4)
    assert temperature == pytest.approx(0.1)


def test_time_limits_bootstrap_and_true_ends_do_not() -> None:
    agent, replay = make(make_config("sac"))
    experience(agent, replay, 44, seed=0)
    assert (replay.sample(64).discount == np.float32(0.99)).all()  # every episode was cut by the time limit
    replay.append(agent.row(np.zeros((3, 3, SIDE, SIDE), np.uint8)), np.zeros(2, np.float32), 1.0, terminated=True)
    assert set(replay.sample(512).discount.tolist()) == {0.0, float(np.float32(0.99))}


def test_contrastive_loss_ends_at_the_freeze() -> None:
    agent, replay = make(make_config())
    assert isinstance(agent, Curl)
    experience(agent, replay, 30, seed=0)
    assert "contrastive_loss" in agent.update(replay.sample(8)).metrics
    weight = agent.similarity.weight.clone()
    freeze(agent, replay)
    assert "contrastive_loss" not in agent.update(replay.sample(8)).metrics
    assert torch.equal(weight, agent.similarity.weight)


def test_target_moves_by_its_two_rates_every_second_update() -> None:
    agent, replay = make(make_config("sac"))  # CURL's encoder takes another step after the target's
    experience(agent, replay, 30, seed=0)
    agent.update(replay.sample(8))
    agent.update(replay.sample(8))
    before = copy.deepcopy(agent.target.state_dict())
    agent.update(replay.sample(8))  # the third
    for name, online in agent.online.state_dict().items():
        tau = 0.05 if name.startswith("encoder") else 0.01
        expected = before[name] + tau * (online - before[name])
        torch.testing.assert_close(agent.target.state_dict()[name], expected)
    before = copy.deepcopy(agent.target.state_dict())
    agent.update(replay.sample(8))
    assert all(torch.equal(before[name], value) for name, value in agent.target.state_dict().items())


@pytest.mark.parametrize("frozen", [False, True])
def test_state_round_trip_continues_identically(frozen: bool) -> None:
    agent, replay = make(make_config())
    experience(agent, replay, 40, seed=0)
    agent.update(replay.sample(8))
    if frozen:
        freeze(agent, replay)
    fresh, _ = make(make_config(), seed=9)
    fresh.load_state_dict(copy.deepcopy(agent.state_dict()))
    batch = replay.sample(8)
    observation = np.full((3, 3, SIDE, SIDE), 77, np.uint8)
    for _ in range(3):
        left, right = agent.update(batch), fresh.update(batch)
        assert {k: v.item() for k, v in left.metrics.items()} == {k: v.item() for k, v in right.metrics.items()}
        np.testing.assert_array_equal(agent.explore(observation)[0], fresh.explore(observation)[0])


def test_first_actions_are_uniform_and_later_ones_the_policys() -> None:
    agent, _ = make(make_config("sac"))
    with torch.no_grad():
        agent.actor.layers[-1].bias[:ACTIONS] = 50.0  # the policy always answers 1
    observation = np.zeros((3, 3, SIDE, SIDE), np.uint8)
    actions = np.stack([agent.explore(observation)[0] for _ in range(8)])
    assert (np.abs(actions[:5]) < 1).all()
    assert (actions[5:] == 1).all()
    assert (agent.act(observation[None]) == 1).all()
