"""Feature stability in a loop of one's own, against CKA by its definition; agents' is in tests/training."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seer

FRAME = (1, 12, 12)


def make(*above: nn.Module, frames: int = 400) -> tuple[seer.FreezableEncoder, seer.Replay]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.ReLU(), *above)  # maps of 3 x 3
    encoder = seer.FreezableEncoder(module, (1, *FRAME))
    replay = seer.make_replay(
        num_bytes=frames * 144, frame_shape=FRAME, stack=1, action_space=gymnasium.spaces.Discrete(3)
    )
    return encoder, replay


def play(encoder: seer.FreezableEncoder, replay: seer.Replay, steps: int) -> None:
    for _ in range(steps):
        frame = np.random.default_rng(replay.size).integers(0, 256, FRAME).astype(np.uint8)
        replay.append(encoder.row(frame[None]), 1, 1.0, terminated=False)


def learn(encoder: seer.FreezableEncoder, seed: int, size: float = 0.05) -> None:
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn(weight.shape, generator=noise), alpha=size)


def slow_cka(one: Tensor, other: Tensor) -> float:
    """Of samples [*, units] (Kornblith et al. 2019, section 3), by its definition with kernels."""
    kernels = [centred @ centred.T for centred in (each.double() - each.double().mean(0) for each in (one, other))]
    return float((kernels[0] * kernels[1]).sum() / (kernels[0].norm() * kernels[1].norm()))


def positions(encoder: seer.FreezableEncoder, replay: seer.Replay, ids: Any) -> Tensor:
    """The samples of maps [B, 4, 3, 3], one a position, in a loop."""
    latents = encoder.encode(encoder.pixels(replay.read(ids))).detach().view(len(ids), 4, 3, 3)
    return torch.stack([each[:, y, x] for each in latents for y in range(3) for x in range(3)])


@pytest.mark.parametrize("above", [(), (nn.Flatten(),)], ids=["maps", "flattened"])
def test_every_position_of_a_map_is_a_sample(above: tuple[nn.Module, ...]) -> None:
    encoder, replay = make(*above)
    stability = seer.FeatureStability(every=60)
    play(encoder, replay, 200)
    assert stability.compare(encoder, replay) is None  # nothing to compare with
    assert stability.compare(encoder, replay) is None  # nothing learnt since
    before = copy.deepcopy(encoder)
    learn(encoder, 1)
    found = stability.compare(encoder, replay)
    ids = np.arange(140, 200)  # the newest 60: fewer than 256 would be spread over more steps
    assert found is not None
    assert found.observations == 60
    assert found.cka == pytest.approx(slow_cka(*(positions(each, replay, ids) for each in (before, encoder))), rel=1e-6)
    assert found.cka < 0.999


class First(nn.Module):
    """Gives the first numbers of maps that it flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, maps: Tensor) -> Tensor:
        return self.flatten(maps)[:, :20]


def test_a_part_of_flattened_maps_is_a_vector() -> None:
    encoder, replay = make(First())
    play(encoder, replay, 100)
    stability = seer.FeatureStability(every=80)
    stability.compare(encoder, replay)
    before = copy.deepcopy(encoder)
    learn(encoder, 1)
    found = stability.compare(encoder, replay)
    newest = replay.read(np.arange(20, 100))
    features = [each.encode(each.pixels(newest))[:, 0].detach() for each in (before, encoder)]
    assert found is not None
    assert found.cka == pytest.approx(slow_cka(*features), rel=1e-6)


def test_vectors_need_four_observations_a_unit() -> None:
    encoder, replay = make(nn.Flatten(), nn.Linear(36, 30))
    stability = seer.FeatureStability(every=50)
    play(encoder, replay, 200)
    stability.compare(encoder, replay)
    before = copy.deepcopy(encoder)
    learn(encoder, 2)
    found = stability.compare(encoder, replay)
    newest = replay.read(np.arange(80, 200))  # more than the newest 50, as so many are needed
    features = [each.encode(each.pixels(newest))[:, 0].detach() for each in (before, encoder)]
    assert found is not None
    assert (found.observations, found.cka) == (120, pytest.approx(slow_cka(*features), rel=1e-6))


def test_nothing_is_compared_on_few_observations_or_frozen_features() -> None:
    encoder, replay = make(nn.Flatten(), nn.Linear(36, 30))
    stability = seer.FeatureStability(every=50)
    stability.compare(encoder, replay)
    learn(encoder, 9)
    assert stability.compare(encoder, replay) is None  # no observation at all
    for steps, is_enough in ((60, False), (59, False), (1, True)):
        play(encoder, replay, steps)
        stability.compare(encoder, replay)
        learn(encoder, steps)
        assert (stability.compare(encoder, replay) is not None) == is_enough
    learn(encoder, 0)
    encoder.freeze_and_transcode(replay)
    assert stability.compare(encoder, replay) is None


def test_a_checkpoint_keeps_the_copy() -> None:
    encoder, replay = make()
    play(encoder, replay, 100)
    stability, resumed = seer.FeatureStability(every=60), seer.FeatureStability(every=60)
    stability.compare(encoder, replay)
    resumed.load_state_dict(stability.state_dict(), encoder)
    learn(encoder, 1)
    assert resumed.compare(encoder, replay) == stability.compare(encoder, replay) is not None


def test_layers_that_keep_a_tensor_of_the_pass_they_learnt_from_are_compared() -> None:
    """As spectral norm of PyTorch's older form does, its weight divided by its norm: such a tensor can't be copied."""
    encoder, replay = make(nn.utils.spectral_norm(nn.Conv2d(4, 4, 1)))
    stability = seer.FeatureStability(every=60)
    play(encoder, replay, 100)
    for seed in range(2):
        (features,) = encoder.embed(encoder.prepare(replay.sample(8).now))
        features.square().sum().backward()
        found = stability.compare(encoder, replay)
        learn(encoder, seed)
    assert found is not None
    assert 0 < found.cka < 1


def test_a_loop_freezes_when_its_features_settle_and_its_score_has_risen() -> None:
    """The encoder learns less and less; the rule is told by hand, as the page on loops of one's own says."""
    encoder, replay = make(nn.Flatten())
    stability = seer.FeatureStability(every=20)
    rule = seer.FreezeWhenSettled(earliest=40, patience=2)
    similarities: dict[int, float] = {}
    for step in range(1, 400):
        play(encoder, replay, 1)
        learn(encoder, step, size=0.5 / step)
        score = float(step // 100 + step % 3)
        found = stability.compare(encoder, replay) if step % stability.every == 0 else None
        if found is not None:
            similarities[step] = found.cka
        rule.on_step(seer.StepMetrics(step, episode_returns=[score], cka=found and found.cka))
        if rule.is_due(step):
            encoder.freeze_and_transcode(replay)
            break
    assert replay.holds_latents
    alike = [at for at, similarity in similarities.items() if at >= 40 and similarity >= 0.985]
    assert alike[0] > 40  # it had to settle first
    assert step >= 2 * alike[0]
    assert step == max(similarities)
