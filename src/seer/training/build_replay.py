"""Build the replay of a config."""

import math
from pathlib import Path

import numpy as np
import torch

from seer.config import Config
from seer.envs.base import PixelEnvironment
from seer.errors import SettingError
from seer.replay import Block, FileBlock, MemoryBlock, MultiEnvReplay, Prioritized, Replay, RowFormat, Uniform
from seer.replay.file_block import refuse_folder
from seer.replay.make import action_format
from seer.system_info import free_bytes
from seer.validation import parse_memory


def build_replay(
    config: Config, environment: PixelEnvironment, device: torch.device, rng: np.random.Generator, *, num_bytes: int
) -> Replay | MultiEnvReplay:
    """Return the replay, in `num_bytes` bytes of memory or of a file; of several environments, one for each."""
    settings, num_envs = config.replay, config.num_envs
    frame = RowFormat(environment.frame_shape, torch.uint8)
    capacity = num_bytes // num_envs // frame.num_bytes
    needed = config.least_capacity
    if capacity < needed:
        given = {"replay-memory": settings.memory, "replay-capacity": settings.capacity}
        given |= {"planned-steps": config.planned_steps, "steps": config.steps}  # without a size, as many as these
        flag, size = next((flag, value) for flag, value in given.items() if value is not None)
        least = needed * num_envs
        megabytes = math.ceil(least * frame.num_bytes / 1e5) / 10
        raise SettingError(
            f"--{flag} {size} holds {capacity} frames{' of each environment' * (num_envs > 1)}, less than batch size + "
            f"n-step, {needed}; give at least {f'{megabytes}MB' if settings.memory else least}"
        )
    if config.replay_on is not None:
        refuse_folder(Path(config.replay_on), num_bytes, setting="--replay-on")  # all of it, before a part is taken
    blocks = [_block(config, num_bytes // num_envs, device) for _ in range(num_envs)]
    if num_envs == 1:
        return _one_replay(config, environment, blocks[0], rng)
    own = enumerate(zip(blocks, rng.spawn(num_envs), strict=True))
    return MultiEnvReplay([_one_replay(config, environment, *each, number) for number, each in own], rng)


def _block(config: Config, num_bytes: int, device: torch.device) -> Block:
    if config.replay_on is not None:
        return FileBlock(num_bytes, config.replay_on, device, setting="--replay-on")
    try:
        return MemoryBlock(num_bytes, device)
    except RuntimeError as error:  # a limit such as that of `ulimit`; PyTorch has no finer exception
        raise SettingError(
            f"--replay-memory: the system gives no {num_bytes / 1e9:.2f} GB of memory: give less, or a folder on a "
            "disk by --replay-on"
        ) from error


def _one_replay(
    config: Config, environment: PixelEnvironment, memory: Block, rng: np.random.Generator, number: int | None = None
) -> Replay:
    settings = config.replay
    return Replay(
        memory=memory,
        frame=RowFormat(environment.frame_shape, torch.uint8),
        number=number,
        stack=environment.stack,
        action=action_format(environment.action_space),
        n_step=settings.n_step,
        discount=config.learning.discount,
        sampler=Prioritized(exponent=settings.priority_exponent) if settings.prioritized else Uniform(),
        rng=rng,
    )


SPARE = 16  # one row more for every 16: an episode that a time limit cuts takes one


def replay_bytes(config: Config, frame: RowFormat, latent: RowFormat) -> int:
    """Return the bytes of the replay's memory block; without a setting, of as many frames as there are planned steps.

    Where the step of the freeze is known: of the frames until then, or of the latents of all steps if that is more.
    """
    if config.replay.memory is not None:
        return parse_memory(config.replay.memory)
    steps = config.replay.capacity or config.planned_steps or config.steps
    most = steps * frame.num_bytes
    if config.replay.capacity is not None or config.freeze_step is None:
        return most
    least = config.least_capacity * config.num_envs * frame.num_bytes  # the replay begins as one of frames
    needed = max(config.freeze_step * frame.num_bytes, steps * latent.num_bytes)
    return max(least, min(most, needed + needed // SPARE))


def free_on(device: torch.device) -> int:
    """Return the free bytes of the memory in which a replay on this device lies."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes()
