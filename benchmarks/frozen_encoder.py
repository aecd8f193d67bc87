"""Features stored once against features recomputed in every update: bytes per observation and updates per second.

    python benchmarks/frozen_encoder.py                          # ResNet-18 of random weights, two cameras, 128 x 128
    python benchmarks/frozen_encoder.py --updates 2 --stored 40 --batch 8   # to see that it runs

Robot learners keep images as float32 today and pass them through the frozen encoder in every update. Both sides
train the same head with the same batch size; only where features come from differs. Observations are noise in the right
shapes, which costs as much.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

import seer
from seer.core.frozen_encoder import FrozenEncoder, channels_first


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, H, W]."""
        return torch.relu(self.path(maps) + self.shortcut(maps))


def resnet18() -> nn.Module:
    """ResNet-18 without its classifier: [B, 3, H, W] -> [B, 512] (He et al. 2016, table 1)."""
    blocks = [Block(*shape) for pair in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
              for shape in (pair, (pair[1], pair[1], 1))]  # fmt: skip
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def updates_per_second(features: Callable[[], Tensor], size: int, updates: int) -> float:
    """Train a two-layer head on `features` [B, size]; return its speed without the first updates."""
    torch.manual_seed(1)
    head = nn.Sequential(nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, 7))
    optimizer = torch.optim.Adam(head.parameters())

    def update() -> None:
        loss = head(features()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    timer = Timer("update()", globals={"update": update}, num_threads=torch.get_num_threads())
    return 1 / timer.timeit(updates).mean


def measure(*, stored: int, batch: int, updates: int, size: int, seed: int = 0) -> dict[str, Any]:
    """Bytes per observation and updates per second of each way; observations are noise, which costs as much."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    backbone = resnet18()
    image = (size, size, 3)

    def observe() -> dict[str, np.ndarray]:
        images = {name: rng.integers(0, 256, image).astype(np.uint8) for name in ("front", "wrist")}
        return images | {"joints": rng.normal(size=7).astype(np.float32)}

    cameras = {"front": backbone, "wrist": backbone}
    action_space = gymnasium.spaces.Box(-1, 1, (7,), np.float32)
    rows: dict[str, Any] = {}
    images = np.empty((stored, 2, 3, size, size), np.float32)
    joints = np.empty((stored, 7), np.float32)
    for number in range(stored):
        seen = observe()
        for camera, name in enumerate(cameras):
            images[number, camera] = channels_first(torch.from_numpy(seen[name][None]))[0].numpy()
        joints[number] = seen["joints"]

    @torch.no_grad()
    def recomputed() -> Tensor:
        chosen = rng.integers(stored, size=batch)
        maps = torch.from_numpy(images[chosen]).flatten(0, 1)
        return torch.cat([backbone(maps).view(batch, -1), torch.from_numpy(joints[chosen])], 1)

    def sampled(replay: seer.Replay) -> Tensor:
        return replay.sample(batch).now.flatten(1)

    for dtype in ("float32", "float16"):
        encoder = FrozenEncoder(cameras, observe(), latent_dtype=dtype)
        width = encoder.row_format.shape[-1]
        if not rows:
            rate = updates_per_second(recomputed, width, updates)
            num_bytes = (images.nbytes + joints.nbytes) // stored
            rows["float32 images, recomputed"] = {"bytes_per_observation": num_bytes, "updates_per_second": rate}
        replay = seer.make_replay(
            num_bytes=stored * encoder.row_format.num_bytes, action_space=action_space, latent=encoder.row_format
        )
        started = time.perf_counter()
        for _ in range(stored):
            replay.append(encoder.row(observe()), np.zeros(7, np.float32), 0.0, terminated=False)
        encoded = (time.perf_counter() - started) / stored
        rate = updates_per_second(partial(sampled, replay), width, updates)
        rows[f"features stored once, {dtype}"] = {
            "bytes_per_observation": encoder.row_format.num_bytes,
            "updates_per_second": rate,
            "seconds_per_new_observation": encoded,
        }
    return {
        "seer": seer.__version__, "threads": torch.get_num_threads(), "stored": stored, "batch": batch, "image": size,
        "multiply_adds_per_observation": encoder.multiply_adds()[0], "rows": rows,
    }  # fmt: skip


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    for flag, default in {"stored": 500, "batch": 64, "updates": 20, "size": 128, "threads": 1}.items():
        flags.add_argument(f"--{flag}", type=int, default=default)
    given = vars(flags.parse_args())
    torch.set_num_threads(given.pop("threads"))
    print(json.dumps(measure(**given), indent=2))
