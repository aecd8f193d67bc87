"""Normalisation of vectors, and the way of latents through stages of several cameras."""

import copy

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import seer
from seer.core.sensors import LARGEST, RunningNormalization, Sensed, SensorStage


def test_normalised_numbers_are_those_of_mean_and_deviation_of_all_that_was_added() -> None:
    rng, norm = np.random.default_rng(0), RunningNormalization(3)
    data = rng.normal([0, 1e4, -5], [1e-3, 50, 0], (500, 3)).astype(np.float32)
    for chunk in np.split(data, [1, 2, 70, 71]):
        norm.add(torch.from_numpy(chunk))
    plain = data.astype(np.float64)
    wanted = ((plain - plain.mean(0)) / np.sqrt(plain.var(0) + 1e-8)).clip(-10, 10)
    given = torch.from_numpy(data).view(250, 2, 3)
    normalised = norm(given)
    assert normalised.dtype == torch.float32
    np.testing.assert_allclose(normalised.view(500, 3).numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert norm(torch.tensor([[[1e30, 1e4, 0]]]))[0].tolist() == pytest.approx([LARGEST, 0, LARGEST], abs=0.1)


def test_without_two_observations_numbers_stay_as_they_are() -> None:
    norm = RunningNormalization(2)
    given = torch.tensor([[[70000.0, -3.0], [1.0, 2.0]]])
    assert torch.equal(norm(given), given.flatten(1))
    norm.add(given[:, 0])
    assert torch.equal(norm(given), given.flatten(1))


class Grow(nn.Module):
    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.output_shape = shape

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.float() * 2

    def multiply_adds(self) -> int:
        return 5


def test_latents_come_back_as_the_maps_and_vectors_that_they_were() -> None:
    shapes = [(2, 3, 4), (1, 5, 2)]
    stage = SensorStage([Grow(shape) for shape in shapes], vector_size=6)
    images = tuple(torch.randn(7, *shape) for shape in shapes)
    seen = stage(Sensed(images, torch.randn(7, 6)))
    flat = seen.flat()
    assert flat.shape == (7, *stage.output_shape) == (7, 24 + 10 + 6)
    assert torch.equal(flat[:, :24], 2 * images[0].flatten(1))
    again = stage.sensed_from(flat, torch.float32)
    for one, other in zip((*seen.images, seen.vectors), (*again.images, again.vectors), strict=True):
        assert torch.equal(one, other)
    assert stage.multiply_adds() == 10


def test_only_the_newest_vectors_are_counted_and_none_in_evaluation_mode() -> None:
    norm = RunningNormalization(1)
    stage = SensorStage([], vector_size=2, normalization=norm)
    seen = Sensed((), torch.tensor([[[100.0], [1.0]], [[200.0], [3.0]]]))
    stage.learn_range(seen)
    assert (float(norm.count), norm.mean.tolist()) == (2, [2.0])
    stage.eval().learn_range(seen)
    assert float(norm.count) == 2


def test_a_loop_of_one_s_own_freezes_modules_of_its_own_for_each_camera() -> None:
    packing = seer.Packing({"a": (1, 10, 15), "b": (3, 5, 5)}, {"x": 2})
    modules = {
        name: nn.Sequential(nn.Conv2d(2 * shape[0], 4, 5, 5), nn.ReLU()) for name, shape in packing.cameras.items()
    }
    encoder = seer.sensor_encoder(modules, packing, stack=2)
    size, rng = packing.frame_shape[2], np.random.default_rng(0)
    replay = seer.make_replay(
        num_bytes=40 * size, frame_shape=packing.frame_shape, stack=2, action_space=gymnasium.spaces.Discrete(2)
    )
    seen = []
    for step in range(30):
        frames = {name: rng.integers(256, size=shape, dtype=np.uint8) for name, shape in packing.cameras.items()}
        frame = packing.pack({**frames, "x": rng.normal(3, 2, 2)})
        before = frame if step % 6 == 0 else seen[-1][1]
        seen.append(np.stack([before, frame]))
        replay.append(encoder.observe(seen[-1])[1], 0, 1.0, terminated=step % 6 == 5)
    assert encoder.freeze_and_transcode(replay).converted
    features, rows = encoder.output_size, replay.read(np.arange(30))[:, 0, 0]
    assert features == 4 * 2 * 3 + 4 + 2 * 2
    for observation, row in zip(seen, rows, strict=True):
        frames, numbers = zip(*(_by_hand(packing, frame) for frame in observation), strict=True)
        wanted = [modules[name](torch.cat([each[name] for each in frames])[None]).flatten() for name in packing.cameras]
        torch.testing.assert_close(row[:-4], torch.cat(wanted).detach(), rtol=1e-5, atol=1e-6)
        every = np.stack([_by_hand(packing, each[-1])[1] for each in seen])
        normal = (np.stack(numbers) - every.mean(0)) / every.std(0)
        np.testing.assert_allclose(row[-4:].numpy(), normal.ravel(), rtol=1e-4, atol=1e-4)
    with pytest.raises(seer.SettingError, match="cameras has no module for b"):
        seer.sensor_encoder({"a": modules["a"]}, packing)


def test_a_target_that_shares_the_ranges_normalises_as_the_online_encoder_does() -> None:
    """Averages of parameters alone would leave it with vectors as they are."""
    packing, rng = seer.Packing({"a": (1, 5, 5)}, {"x": 2}), np.random.default_rng(0)
    encoder = seer.sensor_encoder({"a": nn.Sequential(nn.Flatten(), nn.Linear(25, 3))}, packing)
    alone, target = copy.deepcopy(encoder), copy.deepcopy(encoder)
    encoder.share_ranges(target)
    frames = [packing.pack({"a": np.zeros((1, 5, 5), np.uint8), "x": rng.normal(300, 2, 2)}) for _ in range(20)]
    for frame in frames:
        encoder.observe(frame[None])
    shown = torch.from_numpy(np.stack(frames))[:, None]
    ours, shared, own = (each.embed(each.prepare(shown))[0][:, -2:].detach() for each in (encoder, target, alone))
    assert torch.equal(ours, shared)
    assert (float(ours.abs().max()) < 5, float(own.abs().min()) > 200) == (True, True)


def _by_hand(packing: seer.Packing, frame: np.ndarray) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    content, found, start = frame.tobytes(), {}, 0
    for name, shape in packing.cameras.items():
        pixels = np.frombuffer(content[start : start + int(np.prod(shape))], np.uint8).reshape(shape)
        found[name], start = torch.from_numpy(pixels / np.float32(255)), start + pixels.size
    return found, np.frombuffer(content[start:], np.float32).astype(np.float64)
