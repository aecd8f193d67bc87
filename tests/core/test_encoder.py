"""The freezable encoder: features in every phase, the freeze, its targets, rows, states, stages of one's own."""

import copy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seer
from seer.core.stages import scaled

FRAME, STACK, LATENT = (1, 12, 12), 2, 18  # two channels of 3 x 3
Encoder = seer.FreezableEncoder


def make_module(seed: int = 0, channels: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(STACK, channels, 4, 4), nn.ReLU())


def make_encoder(seed: int = 0, channels: int = 2, **options: Any) -> Encoder:
    return Encoder(make_module(seed, channels), (STACK, *FRAME), **options)


def make_replay(frames: int = 40, **options: Any) -> seer.Replay:
    actions = gymnasium.spaces.Discrete(3)
    return seer.make_replay(num_bytes=frames * 144, frame_shape=FRAME, stack=STACK, action_space=actions, **options)


def make(frames: int = 40, **options: Any) -> tuple[Encoder, seer.Replay]:
    return make_encoder(**options), make_replay(frames)


def embed(encoder: Encoder, stored: Tensor) -> Tensor:
    (features,) = encoder.embed(encoder.prepare(stored))
    return features


def play(replay: seer.Replay, encoder: Encoder, steps: int, seed: int = 0) -> None:
    """Noise, an episode of five steps cut by a time limit after another."""
    rng = np.random.default_rng(seed)
    frames: list[Any] = []
    for step in range(steps):
        if step % 5 == 0:
            frames = [rng.integers(0, 256, FRAME).astype(np.uint8)] * STACK
        observation = np.stack(frames[-STACK:])
        frames.append(rng.integers(0, 256, FRAME).astype(np.uint8))
        after, cut = np.stack(frames[-STACK:]), step % 5 == 4
        final_row = encoder.row(after) if cut else None
        replay.append(encoder.row(observation), 1, 1.0, terminated=False, truncated=cut, final_row=final_row)


def flip(frames: Tensor) -> Tensor:
    """An augmentation without chance: every second view is upside down."""
    frames = frames.clone()
    frames[1::2] = frames[1::2].flip(-2)
    return frames


def some(number: int = 3) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (STACK, *FRAME)).astype(np.uint8)


def test_features_are_the_same_before_and_after_the_freeze() -> None:
    encoder, replay = make()
    play(replay, encoder, 60)
    before = copy.deepcopy(replay)
    features = {}
    for _ in range(60):
        batch = before.sample(16)
        features |= dict(zip(batch.index.tolist(), embed(encoder, batch.now).detach(), strict=True))
    assert replay.row.num_bytes == 144
    done = encoder.freeze_and_transcode(replay)
    assert (done.converted, done.row_bytes_after, done.capacity_after) == (True, 4 * LATENT, 80)
    assert encoder.phase is seer.Phase.LATENTS
    seen = set()
    for _ in range(20):
        batch = replay.sample(16)
        for number, read in zip(batch.index.tolist(), embed(encoder, batch.now), strict=True):
            torch.testing.assert_close(read, features[number])
            seen.add(number)
    assert len(seen) > 20
    play(replay, encoder, 200)
    assert replay.size == 80
    observation = some()
    expected = encoder.stages[0](torch.from_numpy(observation).flatten(0, 1)[None] / 255).flatten()
    (acting,), row = encoder.observe(observation)
    for found in (encoder.row(observation), acting, row):
        torch.testing.assert_close(found.flatten(), expected)


def test_gradients_end_at_the_freeze_and_the_target_is_tied() -> None:
    encoder, replay = make()
    target = make_encoder(seed=5)
    play(replay, encoder, 30)
    prepared = encoder.prepare(replay.sample(8).now)
    assert not torch.equal(*encoder.embed(prepared), *target.embed(prepared))
    encoder.embed(prepared)[0].sum().backward()
    optimizer = torch.optim.Adam(encoder.parameters())
    encoder.freeze_and_transcode(replay, target)
    weights = copy.deepcopy(encoder.state_dict())
    assert not embed(encoder, replay.sample(8).now).requires_grad
    optimizer.step()  # passes over what has no gradient
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert list(encoder.stages) == list(target.stages)
    assert target.phase is encoder.phase
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    with pytest.raises(ValueError, match="frozen already"):
        encoder.freeze_and_transcode(replay)


def test_what_is_above_the_cut_goes_on_learning() -> None:
    """The row is the lower module's output, and the upper one's features of it are those of a whole pass."""
    encoder = Encoder([make_module(), nn.Flatten(), nn.Linear(LATENT, 4)], (STACK, *FRAME), frozen_stages=1)
    target = copy.deepcopy(encoder)
    replay = make_replay()
    play(replay, encoder, 30)
    frames = replay.read(replay.recent(9, span=30))
    (whole,) = encoder(encoder.inputs(frames))
    encoder.freeze_and_transcode(replay, target)
    assert (encoder.latent_shape, encoder.output_size, replay.row.shape) == ((1, LATENT), 4, (1, 1, LATENT))
    torch.testing.assert_close(encoder.embed(replay.read(replay.recent(9, span=30))[:, 0])[0], whole)
    torch.testing.assert_close(
        encoder.observe(some())[0][0], encoder(encoder.inputs(torch.from_numpy(some())[None]))[0]
    )
    embed(encoder, replay.sample(4).now).sum().backward()
    assert [weight.grad is not None for weight in encoder.parameters()] == [False, False, True, True]
    assert [one is other for one, other in zip(encoder.stages, target.stages, strict=True)] == [True, False, False]
    assert encoder.multiply_adds() == (2 * 9 * STACK * 16, LATENT * 4)


def test_running_statistics_are_frozen_too() -> None:
    """Also where the network around the encoder is put into training mode again; above the cut they go on."""
    encoder = Encoder([nn.BatchNorm2d(STACK), nn.BatchNorm2d(STACK)], (STACK, *FRAME), frozen_stages=1)
    encoder.freeze(seer.Phase.FROZEN_FRAMES)
    around = nn.Sequential(encoder).train()
    around[0].embed(encoder.prepare(torch.from_numpy(some())[None]))
    assert [stage.module.num_batches_tracked.item() for stage in encoder.stages] == [0, 1]


def test_features_larger_than_a_frame_keep_frames() -> None:
    encoder, replay = make(channels=5)  # 45 float32, 180 bytes; a frame has 144
    play(replay, encoder, 30)
    with pytest.warns(UserWarning, match="latents of 180 bytes would be larger than a frame of 144"):
        assert not encoder.freeze_and_transcode(replay).converted
    assert encoder.phase is seer.Phase.FROZEN_FRAMES
    batch = replay.sample(4)
    assert batch.now.dtype == torch.uint8
    features = embed(encoder, batch.now)
    assert features.shape == (4, 45)
    assert not features.requires_grad
    smaller, replay = make(channels=5, latent_dtype="float16")
    play(replay, smaller, 30)
    assert smaller.freeze_and_transcode(replay).row_bytes_after == 90


def test_every_view_is_stored_and_drawn() -> None:
    encoder, replay = make(augment=flip, num_crops=2, latent_dtype="float16")
    play(replay, encoder, 30)
    ids = replay.recent(5, span=20)
    frames = replay.read(ids)
    upright, flipped = (encoder(scaled(view))[0] for view in (frames, frames.flip(-2)))
    encoder.freeze_and_transcode(replay)
    read = replay.read(ids)[:, :, 0]  # [B, K, L]
    torch.testing.assert_close(read, torch.stack([upright, flipped], 1).detach(), rtol=2e-3, atol=1e-3)
    assert embed(encoder, replay.sample(3).now).shape == (3, LATENT)
    (acting,), row = encoder.observe(some())
    assert torch.equal(row, encoder.row(some()))
    torch.testing.assert_close(acting[0], row[0, 0])  # the first view is upright, as acting sees it
    assert not torch.equal(row[0], row[1])


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.filterwarnings("ignore:latents of")  # larger ones
def test_checkpoints_continue_in_the_same_phase(channels: int, tmp_path: Path) -> None:
    encoder, replay = make(channels=channels)
    play(replay, encoder, 30)
    encoder.freeze_and_transcode(replay)
    states = {"encoder": encoder.checkpoint(), "replay": replay.state_dict()}
    torch.save(states, tmp_path / "states")  # noqa: TID251  # what users do
    saved = torch.load(tmp_path / "states", weights_only=False)  # noqa: TID251
    other, twin = make(seed=9, channels=channels)
    target = copy.deepcopy(other)
    twin.load_state_dict(saved["replay"])
    other.restore(saved["encoder"], target)
    assert other.phase is target.phase is encoder.phase
    assert other.stages[0] is target.stages[0]
    assert not any(weight.requires_grad for weight in other.parameters())
    for one, two in zip(replay.sample(8).now, twin.sample(8).now, strict=True):
        assert torch.equal(one, two)
    assert torch.equal(encoder.observe(some())[0][0], other.observe(some())[0][0])


def test_an_encoder_that_learns_is_restored_as_one() -> None:
    encoder, other = make_encoder(), make_encoder(seed=9)
    other.restore(encoder.checkpoint())
    assert other.phase is seer.Phase.FRAMES
    assert all(weight.requires_grad for weight in other.parameters())
    assert torch.equal(encoder.observe(some())[0][0], other.observe(some())[0][0])


def test_a_frozen_encoder_does_not_take_a_state_that_learns() -> None:
    """It would stay frozen, though its replay, loaded beside it, has frames again."""
    encoder, replay = make()
    saved = encoder.checkpoint()
    play(replay, encoder, 20)
    encoder.freeze_and_transcode(replay)
    with pytest.raises(seer.SettingError, match="is frozen, but the saved one still learnt: restore it into a new"):
        encoder.restore(saved)
    encoder.restore(encoder.checkpoint())


def test_frames_are_no_latents() -> None:
    encoder, replay = make()
    play(replay, encoder, 20)
    frames = replay.sample(4).now
    encoder.freeze_and_transcode(replay)
    with pytest.raises(seer.SettingError, match="reads latents, but is given frames"):
        encoder.prepare(frames)
    latents = encoder.encode_rows(frames)[:, 0]
    assert torch.equal(encoder.prepare(latents), latents)


def test_latents_are_no_frames() -> None:
    encoder, replay = make()
    play(replay, encoder, 20)
    state = encoder.checkpoint()
    encoder.freeze_and_transcode(replay)
    learning = make_encoder()
    learning.restore(state)
    with pytest.raises(seer.SettingError, match="isn't frozen and reads frames, uint8, but is given latents"):
        learning.prepare(replay.sample(4).now)


def test_a_row_is_a_copy() -> None:
    """A loop may write the next observation into the array of the last one before it stores the row."""
    encoder, stack = make_encoder(), some()
    expected = torch.from_numpy(stack.copy())
    _, row = encoder.observe(stack)
    other = encoder.row(stack)
    stack[:] = 0
    assert torch.equal(row, expected)
    assert torch.equal(other, expected)


def test_a_freeze_that_is_refused_changes_nothing() -> None:
    """int8 has nothing to fit to, in one replay of two."""
    made = [make_replay(20) for _ in range(2)]
    replay = seer.MultiEnvReplay(made, np.random.default_rng(0))
    encoder = make_encoder(latent_dtype="int8")
    play(made[0], encoder, 10)
    for _ in range(2):
        with pytest.raises(seer.SettingError, match="int8"):
            encoder.freeze_and_transcode(replay)
        assert all(weights.requires_grad for weights in encoder.parameters())
        assert not replay.holds_latents
    play(made[1], encoder, 10)
    assert encoder.freeze_and_transcode(replay).rows == sum(each.size for each in made)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent_dtype": "int4"}, "latent_dtype 'int4'"),
        ({"num_crops": 4}, "num_crops is 4"),
        ({"num_crops": 0}, "is 0"),
        ({"frozen_stages": 2}, "frozen_stages is 2: the encoder has 1"),
        ({"frozen_stages": 0}, "frozen_stages is 0"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(seer.SettingError, match=words):
        make(**options)


def test_a_module_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(seer.SettingError, match="observation_shape is missing"):
        Encoder(make_module())
    with pytest.raises(seer.SettingError, match=r"Sequential doesn't take images \[B, 3, 12, 12\]"):
        Encoder(make_module(), (3, *FRAME))


def test_acting_and_storing_share_one_pass_after_the_freeze() -> None:
    encoder, replay = make()
    play(replay, encoder, 20)
    encoder.freeze_and_transcode(replay)
    passes: list[int] = []
    encoder.stages[0].register_forward_hook(lambda *_: passes.append(1))
    (features,), row = encoder.observe(some())
    assert len(passes) == 1
    assert torch.equal(row, encoder.encode_rows(torch.from_numpy(some()[None]))[0])
    assert torch.equal(row.flatten(), features[0])


def test_environments_side_by_side_have_a_replay_each() -> None:
    """Every sampled stack lies within the steps of one environment, in both phases."""
    replay = seer.MultiEnvReplay([make_replay(20, seed=env, number=env) for env in range(3)], np.random.default_rng(0))
    encoder = make_encoder()
    for step in range(20):
        for env in range(3):
            shown = [80 * env + max(step - back, 0) for back in reversed(range(STACK))]
            observation = np.stack([np.full(FRAME, number, np.uint8) for number in shown])
            replay.replays[env].append(encoder.row(observation), 0, float(env), terminated=False, truncated=False)
    batch = replay.sample(64)
    assert {len(set((each // 80).flatten().tolist())) for each in batch.now} == {1}
    assert set((batch.now[:, -1, 0, 0, 0] // 80).tolist()) == {0, 1, 2}
    assert encoder.freeze_and_transcode(replay).converted
    batch = replay.sample(64)
    assert set(batch.reward.tolist()) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((12, 12, 3), np.uint8),
        np.zeros((STACK, 12, 12, 1), np.uint8),
        np.zeros((STACK, *FRAME), np.float32),
        np.zeros((1, STACK, *FRAME), np.uint8),
    ],
)
def test_an_observation_of_another_layout_is_one_line(given: np.ndarray) -> None:
    encoder = make_encoder()
    for see in (encoder.observe, encoder.row):
        with pytest.raises(seer.SettingError, match=r"not uint8 \[2, 1, 12, 12\]: .* channels first"):
            see(given)


def test_grey_pictures_without_an_axis_for_channels_are_told_how_to_get_it() -> None:
    encoder, pictures = make_encoder(), np.zeros((STACK, 12, 12), np.uint8)
    with pytest.raises(seer.SettingError, match=r"\[S, H, W\] pictures\[:, None\]"):
        encoder.observe(pictures)
    encoder.observe(pictures[:, None])


def test_frames_are_prepared_before_they_are_embedded() -> None:
    encoder, frames = make_encoder(), torch.from_numpy(some())[None]
    with pytest.raises(seer.SettingError, match=r"embed\(encoder.prepare\(frames\)\)"):
        encoder.embed(frames)
    encoder.embed(encoder.prepare(frames))
