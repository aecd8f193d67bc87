"""`import seer` for a loop of one's own: exports, the freezable encoder, the accounting, the example, the API page."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seer

ROOT = Path(__file__).parents[1]
FRAME, STACK, LATENT = (1, 12, 12), 2, 18  # two channels of 3 x 3


def make_module(seed: int = 0, channels: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(STACK, channels, 4, 4), nn.ReLU())


def play(replay: seer.Replay, encoder: seer.FreezableEncoder, steps: int, seed: int = 0) -> None:
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


def make(*, frames: int = 40, channels: int = 2, **options: Any) -> tuple[seer.FreezableEncoder, seer.Replay]:
    replay = seer.make_replay(
        num_bytes=frames * 144,
        frame_shape=FRAME,
        stack=STACK,
        action_space=gymnasium.spaces.Discrete(3),
    )
    return seer.FreezableEncoder(make_module(channels=channels), replay, **options), replay


def flip(frames: Tensor) -> Tensor:
    """An augmentation without chance: every second view is upside down."""
    frames = frames.clone()
    frames[1::2] = frames[1::2].flip(-2)
    return frames


def test_every_exported_name_resolves_and_type_checkers_see_the_same() -> None:
    source = (ROOT / "src/seer/__init__.py").read_text().partition("if TYPE_CHECKING:")[2].partition("_HOMES")[0]
    for name in seer.__all__:
        assert getattr(seer, name) is not None
        assert name == "__version__" or name in source
    assert dir(seer) == seer.__all__
    with pytest.raises(AttributeError, match="no attribute 'Replayy'"):
        seer.Replayy  # noqa: B018


def test_features_are_the_same_before_and_after_the_freeze() -> None:
    encoder, replay = make()
    play(replay, encoder, 60)
    before = copy.deepcopy(replay)
    features = {}
    for _ in range(60):
        batch = before.sample(16)
        features |= dict(zip(batch.index.tolist(), encoder(batch.now).detach(), strict=True))
    assert replay.row.num_bytes == 144
    done = encoder.freeze()
    assert (done.converted, done.row_bytes_after, done.capacity_after) == (True, 4 * LATENT, 80)
    assert encoder.phase is seer.Phase.LATENTS
    seen = set()
    for _ in range(20):
        batch = replay.sample(16)
        for number, read in zip(batch.index.tolist(), encoder(batch.now), strict=True):
            torch.testing.assert_close(read, features[number])
            seen.add(number)
    assert len(seen) > 20
    play(replay, encoder, 200)
    assert replay.size == 80
    observation = np.random.default_rng(3).integers(0, 256, (STACK, *FRAME)).astype(np.uint8)
    pixels = torch.from_numpy(observation).flatten(0, 1)[None] / 255
    for features in (encoder.row(observation), encoder.act(observation)):
        torch.testing.assert_close(features.flatten(), encoder.module(pixels).flatten())


def test_gradients_end_at_the_freeze_and_the_target_is_tied() -> None:
    encoder, replay = make()
    target = make_module(seed=5)
    play(replay, encoder, 30)
    batch = replay.sample(8)
    assert not torch.equal(encoder(batch.now), encoder(batch.now, target))
    encoder(batch.now).sum().backward()
    optimizer = torch.optim.Adam(encoder.module.parameters())
    encoder.freeze(target)
    weights = copy.deepcopy(encoder.module.state_dict())
    assert not encoder(replay.sample(8).now).requires_grad
    optimizer.step()  # passes over what has no gradient
    for name, weight in encoder.module.state_dict().items():
        assert torch.equal(weight, weights[name])
        assert torch.equal(weight, target.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in [*encoder.module.parameters(), *target.parameters()])
    with pytest.raises(ValueError, match="frozen already"):
        encoder.freeze()


def test_features_larger_than_a_frame_keep_frames() -> None:
    encoder, replay = make(channels=5)  # 45 float32, 180 bytes; a frame has 144
    play(replay, encoder, 30)
    assert not encoder.freeze().converted
    assert encoder.phase is seer.Phase.FROZEN_FRAMES
    batch = replay.sample(4)
    assert batch.now.dtype == torch.uint8
    assert encoder(batch.now).shape == (4, 45)
    assert not encoder(batch.now).requires_grad
    smaller, replay = make(channels=5, latent_dtype="float16")
    play(replay, smaller, 30)
    assert smaller.freeze().row_bytes_after == 90


def test_every_view_is_stored_and_drawn() -> None:
    encoder, replay = make(augment=flip, num_crops=2, latent_dtype="float16")
    play(replay, encoder, 30)
    ids = replay.recent(5, span=20)
    frames = replay.read(ids)
    upright, flipped = (encoder.module(seer.library.scaled(view)).flatten(1) for view in (frames, frames.flip(-2)))
    encoder.freeze()
    read = replay.read(ids)[:, :, 0]  # [B, K, L]
    torch.testing.assert_close(read, torch.stack([upright, flipped], 1).detach(), rtol=2e-3, atol=1e-3)
    assert encoder(replay.sample(3).now).shape == (3, LATENT)


@pytest.mark.parametrize("channels", [2, 5])
def test_both_states_can_be_saved(channels: int, tmp_path: Path) -> None:
    encoder, replay = make(channels=channels)
    play(replay, encoder, 30)
    encoder.freeze()
    states = {"encoder": encoder.state_dict(), "replay": replay.state_dict()}
    torch.save(states, tmp_path / "states")  # noqa: TID251  # what users do
    saved = torch.load(tmp_path / "states", weights_only=False)  # noqa: TID251
    other, twin = make(channels=channels)
    twin.load_state_dict(saved["replay"])
    other.load_state_dict(saved["encoder"])
    for one, two in zip(replay.sample(8).now, twin.sample(8).now, strict=True):
        assert torch.equal(one, two)


def test_a_freeze_that_is_refused_changes_nothing() -> None:
    """int8 has nothing to fit to, in one replay of two."""
    made = [make(frames=20)[1] for _ in range(2)]
    replay = seer.MultiEnvReplay(made, np.random.default_rng(0))
    encoder = seer.FreezableEncoder(make_module(), replay, latent_dtype="int8")
    play(made[0], encoder, 10)
    for _ in range(2):
        with pytest.raises(seer.SettingError, match="int8"):
            encoder.freeze()
        assert all(weights.requires_grad for weights in encoder.module.parameters())
        assert not replay.holds_latents
    play(made[1], encoder, 10)
    assert encoder.freeze().rows == sum(replay.size for replay in made)


def test_counting_leaves_what_was_in_evaluation_mode_there() -> None:
    module = make_module().train()
    module[1].eval()
    assert seer.count_multiply_adds(module, torch.zeros(1, STACK, *FRAME[1:])) == 2 * 9 * STACK * 16
    assert [each.training for each in module.modules()] == [True, True, False]


@pytest.mark.parametrize("channels", [2, 5])
def test_state_dicts_continue_in_the_same_phase(channels: int) -> None:
    encoder, replay = make(channels=channels)
    play(replay, encoder, 30)
    encoder.freeze()
    other, twin = make(channels=channels)
    other.module.load_state_dict(make_module(seed=9, channels=channels).state_dict())
    twin.load_state_dict(replay.state_dict())
    other.load_state_dict(encoder.state_dict())
    assert other.phase is encoder.phase
    for one, two in zip(replay.sample(8).now, twin.sample(8).now, strict=True):
        assert torch.equal(one, two)
    observation = np.full((STACK, *FRAME), 7, np.uint8)
    assert torch.equal(encoder.act(observation), other.act(observation))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent_dtype": "int4"}, "latent_dtype 'int4'"),
        ({"num_crops": 4}, "num_crops is 4"),
        ({"num_crops": 0}, "is 0"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(seer.SettingError, match=words):
        make(**options)


def test_the_papers_costs() -> None:
    """E of the data-efficient encoder; a step of DQN before and after the freeze, by hand."""
    norm = nn.BatchNorm2d(64)
    module = nn.Sequential(nn.Conv2d(4, 32, 5, 5), nn.ReLU(), nn.Conv2d(32, 64, 5, 5), norm)
    head = nn.Linear(576, 6)
    encoder_cost = seer.count_multiply_adds(module, torch.zeros(1, 4, 84, 84))
    head_cost = seer.count_multiply_adds(head, torch.zeros(1, 576))
    assert (encoder_cost, head_cost) == (819_200 + 460_800, 576 * 6)
    assert module.training
    assert norm.num_batches_tracked == 0  # counting changes nothing
    cost = seer.cost_of(encoder=encoder_cost, head=head_cost, batch_size=32, crops=4)
    both = encoder_cost + head_cost
    assert cost.step(seer.Phase.FRAMES) == 32 * 2 * both + 2 * 32 * both + both
    assert cost.step(seer.Phase.LATENTS) == 32 * 2 * head_cost + 2 * 32 * head_cost + both + 4 * encoder_cost
    assert cost.freeze(1000) == 4000 * encoder_cost


def test_the_dqn_example_runs_through_its_freeze() -> None:
    flags = ["500", "400", "300", "390"]
    command = [sys.executable, "-W", "error", ROOT / "examples/dqn.py", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "frozen: 7056 -> 2304 bytes a step, room for 918" in done.stdout
    assert "step 500: latents" in done.stdout


def test_the_api_page_has_every_name(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", ROOT / "docs/api.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "seer.html").read_text()
    assert "Stop the encoder" in page
    for name in seer.__all__:
        assert f'id="{name}"' in page


def test_acting_and_storing_share_one_pass_after_the_freeze() -> None:
    encoder, replay = make()
    play(replay, encoder, 20)
    encoder.freeze()
    passes: list[int] = []
    encoder.module.register_forward_hook(lambda *_: passes.append(1))
    one, other = np.random.default_rng(3).integers(0, 256, (2, STACK, *FRAME)).astype(np.uint8)
    features = encoder.act(one)
    assert torch.equal(encoder.row(one), encoder.encode(torch.from_numpy(one[None]))[0])
    assert len(passes) == 2  # act, and the slow way
    assert torch.equal(encoder.row(one).flatten(), features[0])
    one[:] = other  # a buffer that its owner fills again
    assert torch.equal(encoder.row(one), encoder.encode(torch.from_numpy(other[None]))[0])
    assert len(passes) == 4


def test_environments_side_by_side_have_a_replay_each() -> None:
    """Every sampled stack lies within the steps of one environment, in both phases."""
    rng = np.random.default_rng(0)
    settings: dict[str, Any] = {"num_bytes": 20 * 144, "frame_shape": FRAME, "stack": STACK}
    spaces = {"action_space": gymnasium.spaces.Discrete(2)}
    parts = [seer.make_replay(**settings, **spaces, seed=env, number=env) for env in range(3)]
    replay = seer.MultiEnvReplay(parts, rng)
    encoder = seer.FreezableEncoder(make_module(), replay)
    for step in range(20):
        for env in range(3):
            observation = np.full((STACK, *FRAME), 80 * env + step, np.uint8)
            replay.replays[env].append(encoder.row(observation), 0, float(env), terminated=False, truncated=False)
    batch = replay.sample(64)
    assert {len(set((each // 80).flatten().tolist())) for each in batch.now} == {1}
    assert set((batch.now[:, -1, 0, 0, 0] // 80).tolist()) == {0, 1, 2}
    assert encoder.freeze().converted
    batch = replay.sample(64)
    assert set(batch.reward.tolist()) == {0.0, 1.0, 2.0}


def test_what_decides_when_is_exported_with_what_it_needs() -> None:
    decision, covariances = seer.FreezeWhenSettled(), seer.Covariances()
    samples = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    covariances.add(samples, 3 * samples + 1)
    decision.on_step(seer.StepMetrics(100, episode_returns=[float(score) for score in (*[0] * 10, *range(50, 150))]))
    for step in (5000, 7500, 10_000):
        assert not decision.is_due(step)
        decision.on_step(seer.StepMetrics(step, cka=seer.linear_cka(covariances)))
    assert decision.is_due(10_000)
