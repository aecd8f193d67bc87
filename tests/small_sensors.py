"""Agents in small that see two cameras and two vectors, for tests; experience is noise."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from seer.agents.agent import Agent
from seer.core.packing import Packing
from seer.replay import Batch, Replay
from seer.training.build_agent import build_agent
from seer.training.build_replay import build_replay
from tiny_run import config_of

CPU = torch.device("cpu")
STACK, SIZE = 2, 6
PACKING = Packing({"front": (3, 40, 40), "wrist": (1, 30, 30)}, {"joints": 3, "gripper": 1})
DISCRETE, CONTINUOUS = spaces.Discrete(4), spaces.Box(-1, 1, (2,), np.float32)
AGENTS = ("rainbow", "dqn", "sac", "curl", "drqv2")
FLAGS = (
    *("--image-size", "40", "--frame-stack", str(STACK), "--batch-size", "8", "--hidden-units", "16"),
    *("--replay-capacity", "60", "--device", "cpu", "--steps", "1000", "--freeze-at", "500"),
    *("--first-update", "100", "--n-step", "2", "--convolution", "direct"),
)


def two_channels() -> torch.nn.Module:
    """An encoder of one's own, of a stack of two grey frames."""
    return torch.nn.Sequential(torch.nn.Conv2d(STACK, 4, 5, 5), torch.nn.ReLU(), torch.nn.Flatten())


def is_discrete(agent: str) -> bool:
    return agent in ("rainbow", "dqn")


def make(agent: str, *flags: str, packing: Packing = PACKING, seed: int = 0) -> tuple[Agent[Any], Replay]:
    torch.set_num_threads(1)
    env = "reaching:ReachingDiscrete-v0" if is_discrete(agent) else "reaching:Reaching-v0"
    crop = ("--crop-size", "36") if agent in ("sac", "curl") else ()
    views = () if is_discrete(agent) else ("--num-crops", "1")
    config = config_of(["--env", env, "--agent", agent, *FLAGS, *crop, *views, *flags])
    environment: Any = SimpleNamespace(
        packing=packing, frame_shape=packing.frame_shape, stack=STACK,
        action_space=DISCRETE if is_discrete(agent) else CONTINUOUS,
    )  # fmt: skip
    made = build_agent(config, environment, CPU, [seed, 1, 2, 3])
    num_bytes = 60 * packing.frame_shape[2]
    replay = build_replay(config, environment, CPU, np.random.default_rng(4), num_bytes=num_bytes)
    assert isinstance(replay, Replay)
    return made, replay


def observations(count: int, seed: int, packing: Packing = PACKING) -> np.ndarray:
    """[count, S, 1, 1, P] of noise, vectors around 5 with a spread of 3."""
    rng = np.random.default_rng(seed)

    def frame() -> np.ndarray:
        cameras = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in packing.cameras.items()}
        return packing.pack(cameras | {name: rng.normal(5, 3, size) for name, size in packing.vectors.items()})

    return np.stack([np.stack([frame() for _ in range(STACK)]) for _ in range(count)])


def experience(agent: Agent[Any], replay: Replay, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Play noise, an episode of seven steps cut by a time limit after another; return every stored observation."""
    frames, stored = observations(steps + steps // 7 + 2, seed)[:, 0], []
    rewards, number = np.random.default_rng(seed), 0
    for step in range(steps):
        if step % 7 == 0:
            stack = np.stack([frames[number]] * STACK)
        action, row = agent.explore(stack)
        stored.append(stack)
        number += 1
        stack = np.stack([*stack[1:], frames[number]])
        cut = step % 7 == 6
        final_row = agent.row(stack) if cut else None
        replay.append(row, action, float(rewards.normal()), terminated=False, truncated=cut, final_row=final_row)
        if cut:
            stored.append(stack)
            number += 1
    return stored


def batch_of(agent: Agent[Any], now: torch.Tensor, after: torch.Tensor) -> Batch:
    generator, size = torch.Generator().manual_seed(7), len(now)
    discrete = isinstance(agent.explore(observations(1, 0)[0])[0], int)
    action = torch.randint(4, (size,), generator=generator) if discrete else torch.rand(size, 2, generator=generator)
    return Batch(
        now=now, action=action, reward=torch.randn(size, generator=generator), next=after,
        discount=torch.full((size,), 0.9), weight=torch.ones(size), index=np.arange(size),
    )  # fmt: skip


def seed_views(agent: Agent[Any]) -> None:
    """Let crops, shifts, noise and policy be drawn as from the start."""
    for generator in agent.generators().values():
        if isinstance(generator, torch.Generator):
            generator.manual_seed(5)
