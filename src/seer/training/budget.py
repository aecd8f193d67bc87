"""Bounds of the memory and disk that a run takes, known before it starts.

Resident memory stays within the replay's memory, what its index takes, and `REST`: measured peaks beside the replay are
0.5 to 0.7 GB for Rainbow on Atari and for CURL on cartpole-swingup.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from seer.agents.agent import Agent
from seer.config import Config
from seer.core.module_stage import ModuleStage
from seer.core.sensors import SensorStage
from seer.envs.base import PixelEnvironment
from seer.errors import SettingError
from seer.networks.convolutions import ResidualSection
from seer.replay import RowFormat
from seer.replay.make import action_format
from seer.system_info import own_bytes
from seer.training.build_replay import free_on, replay_bytes
from seer.training.computing import pick_device

REST = 900_000_000
"""Bytes for Python, its packages, the environments and the pictures at the end."""

GPU_REST = 4_000_000_000
"""Bytes more where a GPU's libraries are loaded too."""

COMPILER_REST = 800_000_000
"""Bytes more for --compile: PyTorch's compiler, and g++ while it works."""

PASSES = 4
"""Activations that an update holds at once, in multiples of those of one float32 forward pass."""

COPIES = 6
"""Copies of every parameter: online and target, gradient, Adam's two moments, and a checkpoint's or a reset's."""

INDEX_BYTES = 16
"""Bytes of a stored row beside its frame and action: reward, age, end, priority."""

SMALL_PARTS = 50_000_000
"""Bytes on disk beside replay and agents: metrics, events, pictures."""

FILE_BUFFERS = 64_000_000
"""Bytes in memory of a replay in a file: pieces of it on their way to a checkpoint, from one, or about to be sorted."""


@dataclass(frozen=True)
class Budget:
    """Bound the bytes of memory that a run takes.

    Attributes:
        replay: the memory block, or its file.
        index: actions, rewards, ends and priorities of the stored rows, before and after the freeze.
        rest: everything else.
        in_file: whether the replay is in a file, which takes no memory but `FILE_BUFFERS`.
    """

    replay: int
    index: int
    rest: int
    in_file: bool = False

    @property
    def total(self) -> int:
        """Return the bytes of memory, all together."""
        return self.others + (0 if self.in_file else self.replay)

    @property
    def others(self) -> int:
        """Return the bytes of memory beside the replay's."""
        return self.index + self.rest + FILE_BUFFERS * self.in_file

    def replay_within(self, free: int) -> int:
        """Return the bytes of the largest replay with which a run fits `free` bytes of memory; 0 if none does."""
        share = (not self.in_file) + self.index / self.replay
        return max(0, int((free - self.rest - FILE_BUFFERS * self.in_file) / share))


def disk_bytes(config: Config, agent: Agent[Any], *, replay: int, row: int) -> int:
    """Return the most bytes that checkpoints take, by those of the replay and of a row.

    Two are kept while a third is written. They share unchanged rows, but one from before the freeze
    shares nothing with one from after it.
    """
    numbers = sum(weight.numel() for module in agent.modules().values() for weight in module.state_dict().values())
    moments = 2 * sum(weight.numel() for module in agent.modules().values() for weight in module.parameters())
    seen = config.freeze.probe_size * math.prod(agent.latent.shape[1:])  # one crop's latents [N, L] of each
    agents: int = 3 * torch.float32.itemsize * (numbers + moments + seen)
    return 2 * replay + min(replay, config.checkpoint_every * row) + agents + SMALL_PARTS


def build_budget(config: Config, environment: PixelEnvironment, agent: Agent[Any]) -> Budget:
    """Return the memory that a run takes at most on its device, wherever the agent is now."""
    frame, latent = RowFormat(environment.frame_shape, torch.uint8), agent.latent
    replay, action = replay_bytes(config, frame, latent), action_format(environment.action_space)
    rows = replay // frame.num_bytes
    if latent.num_bytes <= frame.num_bytes:
        rows += replay // latent.num_bytes  # the freeze holds both indices for a moment
    image = environment.stack * math.prod(frame.shape)
    activations = image + sum(map(_activations, agent.online.encoder.stages))
    parameters = sum(weight.numel() for module in agent.modules().values() for weight in module.parameters())
    work = torch.float32.itemsize * (PASSES * config.learning.batch_size * activations + COPIES * parameters)
    rest = REST + work + COMPILER_REST * config.compile
    rest += GPU_REST * (pick_device(config.device).type != "cpu")
    return Budget(replay, rows * (INDEX_BYTES + action.num_bytes), rest, in_file=config.replay_on is not None)


def refuse_what_cannot_fit(config: Config, budget: Budget, device: torch.device) -> None:
    """Refuse a replay that, with all else, takes more memory than is free; the message gives a size that fits."""
    place = torch.device("cpu") if budget.in_file else device
    free, needed = free_on(place), budget
    if place.type == "cuda":  # where the memory block is; what a GPU needs besides is far less than it has
        needed = dataclasses.replace(budget, index=0, rest=0)
    else:
        free += own_bytes()
    if needed.total <= free:
        return
    flag = "--replay-memory" if config.replay.memory else "--replay-capacity"
    fits = needed.replay_within(free)
    remedy = (
        f"give --replay-memory {fits // 10**6}MB or less" if fits >= 10**6 else "free some, or use smaller networks"
    )
    replay, others, left = (f"{each / 1e9:.2f}" for each in (budget.replay, needed.others, free))
    if budget.in_file:
        raise SettingError(
            f"{flag} asks for {replay} GB on a disk; its index and all else take {others} GB of memory, more than the "
            f"{left} GB that are free here: {remedy}"
        )
    raise SettingError(
        f"{flag} asks for {replay} GB; with {others} GB for all else that is more than the {left} GB that are free "
        f"here: {remedy}"
    )


def _activations(stage: nn.Module) -> int:
    """Count the numbers in a stage's outputs for one observation, those of all layers that it is made of."""
    if isinstance(stage, SensorStage):
        return stage.vector_size + sum(map(_activations, stage.cameras))
    if isinstance(stage, ModuleStage):
        return int(stage.num_activations)
    size = math.prod(stage.output_shape)  # type: ignore[arg-type]
    return size * 10 if isinstance(stage, ResidualSection) else size
