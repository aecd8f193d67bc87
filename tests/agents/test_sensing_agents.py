"""Every agent on two cameras and two vectors: the seam, rows, targets, what vectors reach, cost."""

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seer.core.feature_stability import FeatureStability, stage_outputs
from seer.core.packing import Packing
from seer.core.phase import Phase
from seer.core.sensors import RunningNormalization
from seer.errors import SettingError
from seer.presets import change
from seer.training.build_agent import build_agent
from small_sensors import (
    AGENTS,
    CPU,
    DISCRETE,
    FLAGS,
    PACKING,
    STACK,
    batch_of,
    experience,
    is_discrete,
    make,
    observations,
    seed_views,
)
from tiny_run import config_of

NUMBERS = STACK * 4
LAYERS = [(agent, "all") for agent in AGENTS] + [("rainbow", "1"), ("curl", "2"), ("drqv2", "4")]


def trained(name: str, *flags: str) -> Any:
    agent, replay = make(name, *flags)
    experience(agent, replay, 30)
    return agent


def normalization(agent: Any) -> RunningNormalization:
    found: RunningNormalization = agent.online.encoder.stages[0].normalization
    return found


@pytest.mark.parametrize(("name", "layers"), LAYERS)
def test_the_seam_gives_equal_gradients_on_both_sides(name: str, layers: str) -> None:
    on_frames = trained(name, "--freeze-layers", layers)
    on_latents = copy.deepcopy(on_frames)
    on_frames.freeze(Phase.FROZEN_FRAMES)
    on_latents.freeze(Phase.LATENTS)
    now, after = (torch.from_numpy(observations(6, seed)) for seed in (1, 2))
    seed_views(on_latents)
    stored = [on_latents.encode(frames)[:, 0] for frames in (now, after)]
    for agent, batch in ((on_frames, batch_of(on_frames, now, after)), (on_latents, batch_of(on_latents, *stored))):
        seed_views(agent)
        agent.update(batch)
    above = lambda agent: [  # noqa: E731
        *agent.online.encoder.above_parameters(),
        *(each for head in agent.heads().values() for each in head.parameters()),
    ]
    for left, right in zip(above(on_frames), above(on_latents), strict=True):
        assert (left.grad is None) == (right.grad is None)
        if left.grad is not None:
            assert torch.dist(left.grad, right.grad) <= 1e-4 * left.grad.norm() + 1e-9
    assert sum(float(each.grad.abs().sum()) for each in above(on_frames) if each.grad is not None) > 0


@pytest.mark.parametrize(("name", "layers"), LAYERS)
def test_row_i_is_the_encoding_of_observation_i(name: str, layers: str) -> None:
    agent, replay = make(name, "--freeze-layers", layers)
    stored = experience(agent, replay, 70)[-60:]  # wraps
    seed_views(agent)
    outcome = agent.freeze_and_transcode(replay)
    if agent.phase is Phase.FROZEN_FRAMES:
        assert layers != "all" or name == "drqv2"
        return
    seed_views(agent)
    kept = torch.from_numpy(np.stack(stored[-outcome.rows :]))
    wanted = torch.cat([agent.encode(chunk) for chunk in kept.split(32)])
    assert torch.equal(replay.read(np.arange(outcome.dropped + 20, 80)), wanted)
    assert wanted.shape[1:] == agent.latent.shape


@pytest.mark.parametrize("name", AGENTS)
def test_vectors_reach_the_heads_in_every_phase_and_stop_being_counted_at_the_freeze(name: str) -> None:
    agent, one = trained(name), observations(1, 3)
    other = one.copy()
    other[..., PACKING.picture_bytes :] = observations(1, 4)[..., PACKING.picture_bytes :]
    count = float(normalization(agent).count)
    assert count == 34, "30 steps, and the last observations of 4 episodes"
    for phase in (Phase.FRAMES, Phase.LATENTS):
        if phase is Phase.LATENTS:
            agent.freeze(phase)
        features = [agent.online.encoder.observe(each[0])[0][-1] for each in (one, other)]
        changed = features[0] != features[1]
        assert changed[:, -NUMBERS:].all()
        assert not changed[:, :-NUMBERS].any()
        assert features[0].shape == (1, agent.online.encoder.output_size)
        count += 2 * (phase is Phase.FRAMES)
        assert float(normalization(agent).count) == count
    newest = torch.from_numpy(one[0, -1, 0, 0, PACKING.picture_bytes :].copy()).view(torch.float32).double()
    norm = normalization(agent)
    wanted = (newest - norm.mean) / (norm.squares / norm.count + 1e-8).sqrt()
    torch.testing.assert_close(features[0][0, -4:].double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", AGENTS)
def test_the_target_normalises_as_the_online_network(name: str) -> None:
    agent = trained(name)
    seen = agent.online.encoder.inputs(agent.view(torch.from_numpy(observations(3, 1))))
    online, target = (network.encoder.stages[0](seen) for network in (agent.online, agent.target))
    assert torch.equal(online.vectors, target.vectors)
    assert online.vectors.abs().mean() < 3, "5 ± 3 before"
    again, _ = make(name, seed=9)
    again.load_state_dict(agent.state_dict())
    experience(again, make(name)[1], 5)
    assert again.target.encoder.stages[0].normalization is normalization(again)
    assert float(normalization(again).count) == 34 + 5


def test_curl_s_contrast_is_blind_to_vectors_that_both_crops_share() -> None:
    agent = trained("curl")
    frames = observations(6, 1)
    other = frames.copy()
    other[..., PACKING.picture_bytes :] = observations(6, 2)[..., PACKING.picture_bytes :]
    losses = []
    for each in (frames, other):
        twin = copy.deepcopy(agent)
        seed_views(twin)
        batch = batch_of(twin, torch.from_numpy(each), torch.from_numpy(each))
        queries = twin.online.encoder.embed_one(twin.online.encoder.prepare(batch.now), 0)
        losses.append(twin.improve_encoder(batch, queries)["contrastive_loss"])
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", ["rainbow", "sac"])
def test_two_forms_of_convolutions_and_precisions_agree(name: str) -> None:
    frames = torch.from_numpy(observations(4, 1))
    exact = trained(name)
    flags = ("--convolution", "patches") if name == "rainbow" else ("--precision", "bfloat16")
    other, _ = make(name, *flags)
    other.load_state_dict(exact.state_dict())
    left, right = (each.online.encoder.encode(each.online.encoder.inputs(each.view(frames))) for each in (exact, other))
    assert left.dtype == right.dtype == torch.float32
    assert torch.dist(left, right) < (1e-5 if name == "rainbow" else 3e-2) * left.norm()
    assert torch.equal(left[..., -NUMBERS:], right[..., -NUMBERS:]), "vectors keep their precision"


@pytest.mark.parametrize("name", AGENTS)
def test_the_cost_of_a_pass_is_what_pytorch_counts(name: str) -> None:
    agent = trained(name)
    encoder = agent.online.encoder
    inputs = encoder.pixels(agent.view(torch.from_numpy(observations(1, 1))))
    with FlopCounterMode(display=False) as counter:
        features = encoder(inputs)
    assert counter.get_total_flops() // 2 == sum(encoder.multiply_adds())
    with FlopCounterMode(display=False) as counter:
        (agent.online.head if is_discrete(name) else agent.actor)(features[-1])
    head = agent.online.head if is_discrete(name) else agent.actor
    assert counter.get_total_flops() // 2 == head.multiply_adds()


def test_one_camera_without_vectors_gives_the_latents_of_the_same_encoder_on_plain_frames() -> None:
    """The stages of cameras against the plain ones."""
    packing = Packing({"front": (3, 40, 40)}, {})
    packed, _ = make("rainbow", packing=packing)
    frames = torch.from_numpy(observations(5, 0, packing))
    plain: Any = torch.nn.Sequential(*(stage.cameras[0] for stage in packed.online.encoder.stages))
    wanted = plain(frames.view(5, STACK * 3, 40, 40).float() / 255).flatten(1)
    torch.testing.assert_close(packed.encode(frames)[:, 0, 0], wanted, rtol=1e-5, atol=1e-6)


def test_a_change_of_a_camera_s_layers_is_found() -> None:
    agent, replay = make("rainbow")
    experience(agent, replay, 55)
    stability = FeatureStability(observations=50, every=50)
    stability.compare(agent.online.encoder, replay)
    with torch.no_grad():
        for camera in agent.online.encoder.stages[0].cameras:
            camera.weight.copy_(torch.randn_like(camera.weight))
    agent.updates += 1
    found = stability.compare(agent.online.encoder, replay)
    assert found is not None
    assert found.cka < 0.9


def test_pictures_too_small_for_the_encoder_are_refused_for_each_camera() -> None:
    with pytest.raises(SettingError, match="pixels are too few"):
        make("rainbow", packing=Packing({"front": (3, 40, 40), "wrist": (1, 20, 20)}, {"joints": 3}))


def test_float16_is_refused_for_vectors_that_nothing_has_normalised() -> None:
    flags = ("--encoder-factory", "small_sensors:two_channels", "--latent-dtype", "float16", "--freeze-at", "0")
    packing = Packing({"front": (1, 30, 30)}, {"joints": 3})
    with pytest.raises(SettingError, match="--latent-dtype float16 ends at 65,504, and vectors are stored as they are"):
        make("dqn", *flags, packing=packing)
    begun_raw = config_of(["--env", "reaching:ReachingDiscrete-v0", "--agent", "dqn", *FLAGS, *flags])
    taken_over = change(begun_raw, {"freeze.agent_from": "runs/of-an-agent-that-has-seen-some"})
    environment: Any = SimpleNamespace(packing=packing, frame_shape=packing.frame_shape, stack=2, action_space=DISCRETE)
    assert build_agent(taken_over, environment, CPU).latent.dtype == torch.float16
    agent, replay = make("dqn", *flags[:2], *flags[4:], packing=packing)
    agent.freeze_and_transcode(replay)
    observation = observations(1, 0, packing)[0]
    row = agent.row(observation)
    assert row[0, 0, -6:].tolist() == observation[:, 0, 0, -12:].copy().view(np.float32).ravel().tolist()


@pytest.mark.parametrize("name", ["sac", "drqv2"])
def test_features_are_compared_without_vectors(name: str) -> None:
    encoder = trained(name).online.encoder
    inputs = encoder.pixels(encoder.view(torch.from_numpy(observations(3, 1))))
    with_vectors = encoder(inputs)
    for alone, both in zip(stage_outputs(encoder.base, inputs), with_vectors, strict=True):
        assert torch.equal(alone, both[:, :50])
        assert both.shape == (3, 50 + NUMBERS)


def test_maps_are_compared_without_vectors() -> None:
    encoder = trained("rainbow").online.encoder
    outputs = stage_outputs(encoder.base, encoder.pixels(torch.from_numpy(observations(3, 1))))
    assert [output.shape for output in outputs] == [(3, 64, 1, 1), (3, 64, 1, 1)]


def test_drqv2_s_tanh_is_for_the_trunk_alone() -> None:
    agent, features = trained("drqv2"), torch.randn(4, 50 + NUMBERS)
    read = torch.cat([torch.tanh(features[:, :50]), features[:, 50:]], 1)
    assert torch.equal(agent.actor(features), torch.tanh(agent.actor.layers(read)))
    action = torch.rand(4, 2)
    wanted = super(type(agent.online.head), agent.online.head).forward(read, action)
    assert torch.equal(agent.online.head(features, action), wanted)
