"""Frozen encoders of one's own: rows of several cameras and vectors."""

import json
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

ROOT = Path(__file__).parents[2]
ARM = gymnasium.spaces.Box(-100, 100, (2,), np.float32)


def make_module(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Tanh(), nn.AdaptiveAvgPool2d(1))


class Two(nn.Module):
    """A module whose features are two tensors."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


def observation(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    images = {name: rng.integers(0, 256, (16, 12, 3)).astype(np.uint8) for name in ("front", "wrist")}
    return {"joints": rng.normal(size=5), **images}  # float64, and not last in the row's order


def by_hand(modules: dict[str, nn.Module], number: int) -> torch.Tensor:
    """Features of an observation, one camera at a time."""
    seen, found = observation(number), []
    for name in ("front", "wrist"):
        pixels = torch.tensor(seen[name].transpose(2, 0, 1)[None] / 255.0, dtype=torch.float32)
        with torch.no_grad():
            found.append(modules[name](pixels).flatten())
    return torch.cat([*found, torch.tensor(seen["joints"], dtype=torch.float32)])


@pytest.mark.parametrize(("dtype", "row_bytes"), [("float32", 52), ("float16", 26), ("bfloat16", 26)])
def test_what_is_sampled_is_what_the_modules_say(dtype: str, row_bytes: int) -> None:
    modules: dict[str, nn.Module] = {"front": make_module(1), "wrist": make_module(2)}
    encoder = seer.FrozenEncoder(modules, observation(0), latent_dtype=dtype)
    assert not any(module.training for module in modules.values())
    assert encoder.sizes == {"front": 4, "wrist": 4, "joints": 5}
    assert encoder.row_format.num_bytes == row_bytes
    replay = seer.make_replay(num_bytes=30 * row_bytes + 7, action_space=ARM, latent=encoder.row_format)
    assert (replay.capacity, replay.holds_latents) == (30, True)
    for number in range(50):  # the ring wraps; episodes of ten, every other one cut by a time limit
        last, cut = number % 10 == 9, number % 20 == 9
        final_row = encoder.row(observation(1000)) if cut else None
        row = encoder.row(observation(number))
        action = np.full(2, number, np.float32)
        replay.append(row, action, 0.0, terminated=last and not cut, truncated=cut, final_row=final_row)
    batch = replay.sample(64)
    tolerance = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for now, after, action, discount in zip(batch.now, batch.next, batch.action, batch.discount, strict=True):
        number = int(action[0])
        torch.testing.assert_close(now[0], by_hand(modules, number), rtol=tolerance, atol=tolerance)
        if discount:
            following = 1000 if number % 20 == 9 else number + 1
            torch.testing.assert_close(after[0], by_hand(modules, following), rtol=tolerance, atol=tolerance)
    parts = encoder.split(batch.now)
    assert {name: part.shape for name, part in parts.items()} == {"front": (64, 4), "wrist": (64, 4), "joints": (64, 5)}
    assert torch.equal(torch.cat(list(parts.values()), -1), batch.now[:, 0])


def test_one_module_may_serve_two_cameras_and_counts_twice() -> None:
    module = make_module()
    one = seer.FrozenEncoder({"front": module}, {"front": observation(0)["front"]})
    two = seer.FrozenEncoder({"front": module, "wrist": module}, observation(0))
    assert one.multiply_adds() == (4 * 3 * 4 * 3 * 16, 0)  # 4 x 3 places, 4 channels of 3, 4 x 4 kernels
    assert two.multiply_adds()[0] == 2 * one.multiply_adds()[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"example": {"front": np.zeros((16, 12, 3), np.uint8)}}, "no image of wrist"),
        ({"example": observation(0) | {"depth": np.zeros((4, 4))}}, "'depth' is \\(4, 4\\)"),
        ({"latent_dtype": "int8"}, "latent_dtype 'int8'"),
        ({"cameras": {}}, "no image of any camera"),
        ({"cameras": {"front": Two(), "wrist": Two()}}, "gives a tuple"),
        ({"cameras": {"front": make_module(), "wrist": nn.Linear(5, 5)}}, "a camera's module doesn't take"),
        (
            {"example": observation(0) | {"front": np.zeros((3, 16, 12), np.float32)}},
            "'front' is float32.* give pixels",
        ),
        ({"example": observation(0) | {"front": np.zeros((3, 16, 12), np.uint8)}}, "'front' is uint8 .* give pixels"),
        ({"example": observation(0) | {"front": np.zeros((1, 16, 12, 3), np.uint8)}}, "'front' .* batch of one"),
        ({"example": observation(0) | {"joints": np.zeros((1, 5))}}, "'joints' .* batch of one"),
        ({"example": observation(0) | {"task": "lift the cube"}}, "'task' isn't made of numbers"),
        ({"example": observation(0) | {"agent": {"pos": np.zeros(2)}}}, "'agent' is a dict"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    module = make_module()
    given = {"cameras": {"front": module, "wrist": module}, "example": observation(0)} | changes
    with pytest.raises(seer.SettingError, match=words):
        seer.FrozenEncoder(**given)


@pytest.mark.parametrize(
    "changes",
    [
        {"front": np.zeros((12, 16, 3), np.uint8)},
        {"front": np.zeros((16, 12, 3), np.float32)},
        {"joints": np.zeros(4)},
        {"joints": np.array([0, np.nan, 0, 0, 0])},
    ],
)
def test_an_observation_unlike_the_example_is_refused(changes: dict[str, np.ndarray]) -> None:
    module = make_module()
    encoder = seer.FrozenEncoder({"front": module, "wrist": module}, observation(0))
    with pytest.raises(ValueError, match=f"'{next(iter(changes))}'"):
        encoder.row(observation(1) | changes)
    with pytest.raises(ValueError, match="joints"):
        encoder.row({name: part for name, part in observation(1).items() if name != "joints"})


def test_float_images_go_through_pixels_and_single_numbers_are_vectors_of_one() -> None:
    module, seen = make_module(), observation(0)
    turned = {name: (seen[name].transpose(2, 0, 1) / 255).astype(np.float32) for name in ("front", "wrist")}
    given = {**turned, "gripper": 0.25, "closed": True}
    encoder = seer.FrozenEncoder({"front": module, "wrist": module}, given, pixels=nn.Identity())  # type: ignore[arg-type]
    plain = seer.FrozenEncoder({"front": module, "wrist": module}, seen)
    parts, expected = encoder.split(encoder.row(given)), plain.split(plain.row(seen))  # type: ignore[arg-type]
    torch.testing.assert_close(parts["front"], expected["front"])
    assert (parts["gripper"].item(), parts["closed"].item(), encoder.sizes["gripper"]) == (0.25, 1, 1)
    assert encoder.multiply_adds() == plain.multiply_adds()


def test_a_number_that_the_row_cannot_hold_is_refused() -> None:
    cameras: dict[str, nn.Module] = {"front": make_module(), "wrist": make_module()}
    far = observation(0) | {"joints": np.array([0, 0, 1e5, 0, 0])}
    with pytest.raises(ValueError, match=r"'joints' .* beyond 65,504.*torch.float16 .*latent_dtype"):
        seer.FrozenEncoder(cameras, observation(0), latent_dtype="float16").row(far)
    for dtype in ("float32", "bfloat16"):
        encoder = seer.FrozenEncoder(cameras, observation(0), latent_dtype=dtype)
        assert encoder.split(encoder.row(far))["joints"][0, 2] == 1e5


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    flags = ["--updates", "1", "--stored", "4", "--batch", "2", "--size", "32"]
    command = [sys.executable, "-W", "error", ROOT / "benchmarks/frozen_encoder.py", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    images, whole, half = json.loads(done.stdout)["rows"].values()
    assert images["bytes_per_observation"] == 2 * 3 * 32 * 32 * 4 + 28
    assert whole["bytes_per_observation"] == (2 * 512 + 7) * 4 == 2 * half["bytes_per_observation"]


def test_a_part_that_is_missing_is_named_with_what_to_do() -> None:
    encoder = seer.FrozenEncoder({"front": make_module(), "wrist": make_module()}, observation(0))
    seen = {name: part for name, part in observation(0).items() if name != "joints"}
    with pytest.raises(ValueError, match="the observation has no 'joints', as the example had: give it too"):
        encoder.row(seen)


def test_the_modules_are_run_in_evaluation_mode_whatever_a_loop_does() -> None:
    module, seen = make_module(), observation(0)
    encoder = seer.FrozenEncoder({"front": module, "wrist": module}, seen)
    before, statistics = encoder.row(seen), {name: each.clone() for name, each in module.state_dict().items()}
    module.train()  # as part of a policy of the loop's own
    assert torch.equal(encoder.row(seen), before)
    assert all(torch.equal(each, statistics[name]) for name, each in module.state_dict().items())


def test_bytes_for_pixels_in_0_to_1_are_refused_and_more_digits_are_not() -> None:
    module, seen = make_module(), observation(0)
    turned: dict[str, Any] = {name: seen[name].transpose(2, 0, 1) for name in ("front", "wrist")}
    floats = {name: (each / 255).astype(np.float32) for name, each in turned.items()}
    example = floats | {"gripper": np.uint8(1)}
    encoder = seer.FrozenEncoder({"front": module, "wrist": module}, example, pixels=Tensor.float)
    with pytest.raises(ValueError, match="'front' is uint8, in the example it was float32"):
        encoder.row(example | {"front": turned["front"]})
    doubles = {name: each.astype(np.float64) for name, each in floats.items()}
    assert torch.equal(encoder.row(doubles | {"gripper": 1}), encoder.row(example))
