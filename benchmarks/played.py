"""Steps that were really played, to fill seer's replays and the buffers of Stable-Baselines3 with.

Axes: S stack, C channels, H height, W width.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from typing import Any

import numpy as np
import torch

from seer.envs.base import PixelEnvironment, Pixels
from seer.networks.augment import center_crop
from seer.replay import Replay


@dataclass(frozen=True)
class Step:
    """One step: the newest frame [C, H, W], the action taken there, its reward, and whether the episode was over."""

    frame: Pixels
    action: Any
    reward: float
    over: bool


def record(environment: PixelEnvironment, steps: int, *, seed: int = 0) -> list[Step]:
    """Play random actions."""
    recording: list[Step] = []
    observation, _ = environment.reset(seed=seed)
    environment.action_space.seed(seed)
    for _ in range(steps):
        action = environment.action_space.sample()
        frame = observation[-1].copy()
        observation, reward, terminated, truncated, _ = environment.step(action)
        recording.append(Step(frame, action, float(reward), terminated or truncated))
        if terminated or truncated:
            observation, _ = environment.reset()
    return recording


def stacks(steps: Iterable[Step], stack: int) -> Iterator[Pixels]:
    """Yield the observation [S, C, H, W] of each step; an episode's first frame fills the stack."""
    frames: deque[Pixels] = deque(maxlen=stack)
    starts = True
    for step in steps:
        frames.extend([step.frame] * (stack if starts else 1))
        starts = step.over
        yield np.stack(frames)


def flat(observation: Pixels, view_size: int) -> Pixels:
    """Return [S, C, H, W] as Stable-Baselines3 wants it: [S * C, h, w], the middle of the picture."""
    views = center_crop(torch.from_numpy(observation), view_size).numpy()
    return np.ascontiguousarray(views.reshape(-1, *views.shape[-2:]))


def fill_replay(replay: Replay, recording: Sequence[Step], rows: int) -> None:
    """Append `rows` steps, the recording again and again."""
    for step in islice(cycle(recording), rows):
        replay.append(step.frame, step.action, step.reward, terminated=step.over)


def fill_buffer(
    buffer: Any,
    recording: Sequence[Step],
    *,
    stack: int,
    view_size: int,
    after_each: Callable[[Any], None] = lambda _: None,
) -> None:
    """Fill a buffer made for Stable-Baselines3, the recording again and again; it gets whole stacks."""
    observations = (flat(each, view_size) for each in stacks(cycle(recording), stack))
    steps = islice(cycle(recording), buffer.buffer_size)
    for step, (now, following) in zip(steps, pairwise(observations), strict=False):
        action, reward, over = (np.array([value]) for value in (step.action, step.reward, step.over))
        buffer.add(now[None], following[None], action, reward, over, [{}])
        after_each(buffer)
