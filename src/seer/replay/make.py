"""A replay for a training loop of one's own.

Axes: S stack, C channels, H height, W width, A actions.
"""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from seer.core.rows import RowFormat
from seer.errors import SettingError
from seer.replay.buffer import Replay
from seer.replay.file_block import FileBlock
from seer.replay.memory import MemoryBlock
from seer.replay.samplers import Prioritized, Uniform
from seer.replay.transitions import ActionFormat


def make_replay(
    *,
    num_bytes: int,
    action_space: gymnasium.Space[Any],
    frame_shape: tuple[int, ...] = (),
    stack: int = 1,
    latent: RowFormat | None = None,
    n_step: int = 1,
    discount: float = 0.99,
    prioritized: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    number: int | None = None,
    path: Path | str | None = None,
) -> Replay:
    """Return a replay of one environment's frames, in a memory block that the freeze fills with latents.

    It takes each step for the next one of the same environment. Several environments get one each, sampled as one by
    `MultiEnvReplay([make_replay(..., seed=i, number=i) for i in range(4)], np.random.default_rng(0))`; its
    `replays[i].append` stores a step of the i-th, and `VectorSteps` those of a `gymnasium.vector.VectorEnv`.

    Args:
        num_bytes: of the block, for example `capacity * 84 * 84`. Actions, rewards and priorities lie beside it
            (`Replay.index_bytes`).
        action_space: Discrete or Box, of the actions as they are stored: `append` refuses others. Where they are
            scaled for the networks, `Box(-1, 1, shape)`.
        frame_shape: (C, H, W) of the newest frame, uint8: the row of one step; any shape where `stack` is 1.
        stack: S, frames that make an observation.
        latent: rows of latents from the first step on, in place of frames: `FrozenEncoder.row_format`.
        n_step, discount: steps folded into one transition, and the discount per step.
        prioritized: proportional prioritised sampling (Schaul et al. 2016, exponent 0.5); otherwise uniform.
        device: where the block lives; of one in a file, where observations go that are read.
        seed: of sampling.
        number: among the replays of a `MultiEnvReplay`.
        path: a folder on a disk, where the block lies in an unnamed file instead of in memory (`FileBlock`).

    Raises:
        SettingError: the block is too small for one window, `num_bytes` or `frame_shape` is no such thing, the action
            space is of another kind, or the disk has no room.
    """
    if latent is not None:
        if frame_shape or stack != 1:
            raise SettingError(
                f"frame_shape {frame_shape} and stack {stack} say what frames are, and latent asks for rows without "
                "any: leave both out, or latent"
            )
        frame_shape = (latent.num_bytes,)
    _refuse_wrong_sizes(num_bytes, frame_shape, stack)
    replay = Replay(
        memory=MemoryBlock(num_bytes, device) if path is None else FileBlock(num_bytes, path, device),
        frame=RowFormat(frame_shape, torch.uint8),
        stack=stack,
        action=action_format(action_space),
        n_step=n_step,
        discount=discount,
        sampler=Prioritized() if prioritized else Uniform(),
        rng=np.random.default_rng(seed),
        number=number,
    )
    if latent is not None:
        replay.transcode(_nothing_to_encode, latent)  # a freeze before the first step
    return replay


def _refuse_wrong_sizes(num_bytes: Any, frame_shape: tuple[int, ...], stack: int) -> None:
    if not isinstance(num_bytes, int | np.integer):
        raise SettingError(f"num_bytes is {num_bytes!r}: give a whole number of bytes, such as 70_000_000")
    if min(frame_shape, default=0) < 1 or (len(frame_shape) != 3 and stack > 1):
        raise SettingError(f"frame_shape is {frame_shape}: give (C, H, W) of one frame, such as (1, 84, 84)")


def _nothing_to_encode(_frames: Tensor) -> Tensor:
    raise AssertionError("an empty replay has nothing to encode")


def action_format(action_space: gymnasium.Space[Any]) -> RowFormat:
    """Return how the replay stores an action: int64 `()`, one of those of a Discrete space, or float32 of a Box.

    Raises:
        SettingError: the space is neither.
    """
    match action_space:
        case gymnasium.spaces.Discrete():
            start = int(action_space.start)
            return ActionFormat((), torch.int64, range(start, start + int(action_space.n)))
        case gymnasium.spaces.Box():
            return ActionFormat(action_space.shape, torch.float32, low=action_space.low, high=action_space.high)
    raise SettingError(f"action_space {action_space} can't be stored: it must be Discrete or Box")
