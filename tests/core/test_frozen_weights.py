"""What a loop of one's own can do wrong to two encoders around the freeze is refused in a line; the rest passes."""

import copy

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import seer
from seer.core.frozen_weights import FrozenWeights
from seer.errors import SettingError


def frozen_pair() -> tuple[seer.FreezableEncoder, seer.FreezableEncoder, np.ndarray]:
    """An encoder and its target, frozen with a replay, and an observation."""
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(2, 4, 3, 3), nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Linear(4 * 4, 5))]
    encoder = seer.FreezableEncoder(stages, (2, 1, 8, 8), frozen_stages=1, latent_dtype="int8")
    target = copy.deepcopy(encoder)
    replay = seer.make_replay(
        num_bytes=40 * 64, frame_shape=(1, 8, 8), stack=2, action_space=gymnasium.spaces.Discrete(2)
    )
    observation = np.zeros((2, 1, 8, 8), np.uint8)
    for step in range(20):
        observation = np.stack([observation[1], np.full((1, 8, 8), step, np.uint8)])
        replay.append(encoder.row(observation), 0, 0.0, terminated=False, truncated=False)
    encoder.freeze_and_transcode(replay, target)
    assert replay.holds_latents
    return encoder, target, observation


def test_an_average_that_shrinks_what_both_share_is_refused() -> None:
    encoder, target, observation = frozen_pair()
    encoder.observe(observation)
    for _ in range(100):
        with torch.no_grad():
            for theirs, ours in zip(target.parameters(), encoder.parameters(), strict=True):
                theirs.mul_(0.995).add_(0.005 * ours)
    with pytest.raises(SettingError, match=r"frozen weights have changed.*lerp_"):
        encoder.observe(observation)
    with pytest.raises(SettingError, match="frozen weights have changed"):
        encoder.row(observation)


def test_writes_that_change_nothing_pass() -> None:
    encoder, target, observation = frozen_pair()
    (before,), _ = encoder.observe(observation)
    for _ in range(100):
        target.load_state_dict(encoder.state_dict())
        with torch.no_grad():
            for theirs, ours in zip(target.parameters(), encoder.parameters(), strict=True):
                theirs.lerp_(ours, 0.005)
    (after,), _ = encoder.observe(observation)
    assert torch.equal(before, after)


def test_weights_of_before_are_refused() -> None:
    """Their norm may well be the same."""
    encoder, target, observation = frozen_pair()
    encoder.observe(observation)
    others = {name: weight.flip(0) for name, weight in encoder.state_dict().items()}
    target.load_state_dict(others)
    with pytest.raises(SettingError, match=r"frozen weights have changed.*load no others into either"):
        encoder.observe(observation)


def test_numbers_that_are_none_are_refused() -> None:
    weight, guard = torch.ones(3), FrozenWeights()
    guard.check([weight])
    weight.mul_(float("nan"))
    with pytest.raises(SettingError, match="moved by nan"):
        guard.check([weight])


def test_a_target_that_was_left_out_of_the_freeze_is_named() -> None:
    encoder, target, observation = frozen_pair()
    forgotten = seer.FreezableEncoder(copy.deepcopy(list(target.stages)), (2, 1, 8, 8), frozen_stages=1)
    latents = encoder.row(observation)
    assert encoder.embed(latents)[0].shape == (1, 5)
    with pytest.raises(SettingError, match=r"isn't frozen, but is given latents.*target_encoder"):
        forgotten.embed(latents)


def test_an_average_through_data_is_found_out_soon() -> None:
    """As Spinning Up and Stable-Baselines3 write it; PyTorch doesn't count such writes."""
    encoder, target, observation = frozen_pair()

    def play() -> None:
        for _ in range(300):
            encoder.row(observation)
            for theirs, ours in zip(target.parameters(), encoder.parameters(), strict=True):
                theirs.data.mul_(0.995)
                theirs.data.add_(0.005 * ours.data)

    with pytest.raises(SettingError, match=r"frozen weights have changed.*lerp_"):
        play()
