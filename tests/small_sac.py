"""SAC and CURL in small, for tests: on images of 40 pixels and random experience."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch

from seer.agents.sac import Sac
from seer.config import Config
from seer.core.phase import Phase
from seer.networks.augment import random_crop
from seer.presets import preset
from seer.replay import Batch, Replay
from seer.training.build_agent import build_agent
from seer.training.build_replay import build_replay

CPU = torch.device("cpu")
SIDE, CROP, ACTIONS = 40, 36, 2


def make_config(
    agent: str = "curl",
    *,
    encoder: str = "sac-ae",
    crops: int = 4,
    layers: str = "all",
    precision: str = "float32",
) -> Config:
    config = preset("dm_control/cartpole-swingup-v0", agent)
    return dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, size=SIDE, crop_size=CROP),
        learning=dataclasses.replace(
            config.learning, encoder=encoder, batch_size=8, hidden_units=32, precision=precision
        ),
        freeze=dataclasses.replace(config.freeze, num_crops=crops, layers=layers),
        replay=dataclasses.replace(config.replay, capacity=120),
        sac=dataclasses.replace(config.sac, random_steps=5),
    )


def make(config: Config, seed: int = 0) -> tuple[Sac, Replay]:
    torch.set_num_threads(1)
    space = gymnasium.spaces.Box(-1, 1, (ACTIONS,), np.float32)
    environment: Any = SimpleNamespace(packing=None, frame_shape=(3, SIDE, SIDE), stack=3, action_space=space)
    agent = build_agent(config, environment, CPU, [seed, 1, 2, 3])
    assert isinstance(agent, Sac)
    num_bytes = (config.replay.capacity or 0) * 3 * SIDE * SIDE
    return agent, build_replay(config, environment, CPU, np.random.default_rng(4), num_bytes=num_bytes)


def experience(agent: Sac, replay: Replay, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for step in range(steps):
        observation = rng.integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8)
        action, row = agent.explore(observation)
        cut = step % 11 == 10
        final_row = agent.row(observation) if cut else None
        replay.append(row, action, float(rng.normal()), terminated=False, truncated=cut, final_row=final_row)


def freeze(agent: Sac, replay: Replay) -> Phase:
    agent.freeze_and_transcode(replay)
    return agent.phase


def cropped_batch(agent: Sac, crops: int) -> tuple[Batch, Batch]:
    """The same samples twice: as frames already cropped, and as the latents that transcoding would have stored."""
    generator = torch.Generator().manual_seed(7)
    size = 8
    common = {
        "action": torch.rand(size, ACTIONS, generator=generator) * 2 - 1,
        "reward": torch.randn(size, generator=generator),
        "discount": torch.full((size,), 0.99),
        "weight": torch.ones(size),
        "index": np.arange(size),
    }
    pick = torch.randint(crops, (size,), generator=generator)
    frames, latents = [], []
    for _ in ("now", "next"):
        whole = torch.randint(0, 256, (size, 3, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        views = random_crop(whole.repeat_interleave(crops, 0), CROP, generator)  # [B K, S, C, h, w]
        encoder = agent.online.encoder
        with torch.no_grad():
            stored = encoder.encode(encoder.pixels(views)).unflatten(0, (size, crops))
        frames.append(views.unflatten(0, (size, crops))[torch.arange(size), pick])
        latents.append(stored[torch.arange(size), pick])
    return tuple(Batch(now=now, next=after, **common) for now, after in (frames, latents))  # type: ignore[return-value]
