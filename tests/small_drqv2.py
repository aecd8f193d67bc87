"""DrQ-v2 in small, for tests: on images of 40 pixels and random experience."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch

import small_sac
from seer.agents.drqv2 import DrqV2
from seer.config import Config
from seer.replay import Batch, Replay
from seer.training.build_agent import build_agent
from seer.training.build_replay import build_replay

CPU = torch.device("cpu")
SIDE, ACTIONS, PAD, LATENT, HIDDEN, SIZE = small_sac.SIDE, 2, 4, 50, 32, 8
NOISE_STEPS, RANDOM_STEPS = 40, 5


def make_config(*, crops: int = 4, layers: str = "all", precision: str = "float32") -> Config:
    config = small_sac.make_config("drqv2", crops=crops, layers=layers, precision=precision)
    return dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, crop_size=None),
        own=dataclasses.replace(config.own, noise_steps=NOISE_STEPS),
    )


def make(config: Config | None = None, seed: int = 0) -> tuple[DrqV2, Replay]:
    torch.set_num_threads(1)
    config = config or make_config()
    space = gymnasium.spaces.Box(-1, 1, (ACTIONS,), np.float32)
    environment: Any = SimpleNamespace(packing=None, frame_shape=(3, SIDE, SIDE), stack=3, action_space=space)
    agent = build_agent(config, environment, CPU, [seed, 1, 2, 3])
    assert isinstance(agent, DrqV2)
    num_bytes = (config.replay.capacity or 0) * 3 * SIDE * SIDE
    return agent, build_replay(config, environment, CPU, np.random.default_rng(4), num_bytes=num_bytes)


def random_batch(seed: int, *, latents: bool, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def observation() -> torch.Tensor:
        if latents:
            return torch.randn(SIZE, 2, LATENT, generator=generator, dtype=dtype)
        return torch.randint(0, 256, (SIZE, 3, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)

    return Batch(
        now=observation(),
        action=torch.rand(SIZE, ACTIONS, generator=generator, dtype=dtype) * 2 - 1,
        reward=torch.randn(SIZE, generator=generator, dtype=dtype),
        next=observation(),
        discount=torch.where(torch.rand(SIZE, generator=generator) < 0.2, 0.0, 0.97).to(dtype),
        weight=torch.ones(SIZE, dtype=dtype),
        index=np.arange(SIZE),
    )
