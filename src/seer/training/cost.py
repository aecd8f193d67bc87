"""`seer flops` and `seer memory`: tables of cost and capacity, and the FLOPs of a run, without any training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from seer.agents.agent import Agent
from seer.config import Config
from seer.core.flops import Cost
from seer.core.phase import Phase
from seer.envs.base import PixelEnvironment
from seer.replay import RowFormat
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.build_replay import replay_bytes


@dataclass(frozen=True)
class RunCost:
    """Count the multiply-adds of a whole run, by the step at which it is frozen.

    Attributes:
        after: the phase that the freeze leads to.
        capacity: frames that the replay holds.
    """

    config: Config
    cost: Cost
    after: Phase
    capacity: int

    @property
    def store(self) -> int:
        """Return the multiply-adds of one observation's latents; 0 where the replay keeps frames."""
        return self.cost.store if self.after is Phase.LATENTS else 0

    def total(self, frozen_at: int | None) -> int:
        """Return the multiply-adds of the run with the freeze at a step, or with none."""
        steps, first = self.config.steps, self.config.first_update
        never = steps * self.cost.act + self._updates_from(first) * self.cost.update(Phase.FRAMES)
        if frozen_at is None:
            return never
        saved = self.cost.update(Phase.FRAMES) - self.cost.update(self.after)
        cheaper = self._updates_from(max(frozen_at, first))
        return never - cheaper * saved + (steps - frozen_at) * self.store + self.conversion(frozen_at)

    def conversion(self, frozen_at: int) -> int:
        """Return the multiply-adds of turning the replay's frames into latents at a step."""
        return self.store * min(frozen_at, self.capacity)

    def _updates_from(self, step: int) -> int:
        learning, steps = self.config.learning, self.config.steps
        return learning.updates_per_step * max(0, steps // learning.update_every - (step - 1) // learning.update_every)


def build_and_count(config: Config) -> tuple[PixelEnvironment, Agent[Any], RowFormat, RunCost]:
    """Return a run's environment and agent, the row of a frame, and the run's cost."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame = RowFormat(environment.frame_shape, torch.uint8)
    capacity = replay_bytes(config, frame, agent.latent) // frame.num_bytes
    after = Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=agent.latent.num_bytes)
    return environment, agent, frame, RunCost(config, agent.cost, after, capacity)


def print_flops(config: Config) -> None:
    """Print the cost of passes, steps and a whole run in multiply-adds (SEER, section 5), before and after the freeze.

    The whole run is told where the step of its freeze is known.
    """
    *_, run = build_and_count(config)
    table, row = _before_and_after(f"Multiply-adds, {config.env}")
    cost, after, frozen_at = run.cost, run.after, config.freeze_step
    row("encoder forward pass (E)", cost.encoder.multiply_adds, cost.encoder.multiply_adds)
    row("forward pass above it (M)", cost.above, cost.above)
    row("choosing an action", cost.act, cost.act)
    row("storing an observation (E K N)", 0, run.store)
    row(f"one update of {cost.batch_size} samples", cost.update(Phase.FRAMES), cost.update(after))
    mean, steps = run.config.mean_updates, run.config.steps
    row("one training step", cost.step(Phase.FRAMES, updates=mean), cost.step(after, updates=mean))
    if frozen_at is not None:
        row("converting the replay, once", 0, run.conversion(frozen_at))
        row(f"{steps:,} steps: never / at {frozen_at:,}", run.total(None), run.total(frozen_at))
    Console().print(table)


def print_memory(config: Config) -> None:
    """Print what the replay holds: frames before the freeze, latents [K, N, L] after it."""
    _, agent, frame, _ = build_and_count(config)
    num_bytes, latent = replay_bytes(config, frame, agent.latent), agent.latent
    table, row = _before_and_after(f"Replay memory, {config.env}")
    kept = latent if latent.num_bytes <= frame.num_bytes else frame
    row("bytes of the memory block", num_bytes, num_bytes)
    row("bytes per stored step", frame.num_bytes, kept.num_bytes)
    row("capacity in steps", num_bytes // frame.num_bytes, num_bytes // kept.num_bytes)
    dtype = str(latent.dtype).removeprefix("torch.")
    if kept is latent:
        table.caption = f"Latents are stored as {dtype}; --latent-dtype changes that."
    else:
        table.caption = (
            f"Latents would take {latent.num_bytes:,} bytes as {dtype}, so frames are kept and only compute is saved."
        )
    Console().print(table)


def _before_and_after(title: str) -> tuple[Table, Callable[[str, int, int], None]]:
    """Return an empty table, and a function that adds a row to it."""
    table = Table("", title=title, title_justify="left")
    for name in ("before the freeze", "after it", "after / before"):
        table.add_column(name, justify="right", no_wrap=True)

    def add(name: str, before: int, after: int) -> None:
        table.add_row(name, _count(before), _count(after), f"{after / before:.3f}" if before else "")

    return table, add


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**9 else f"{number:.4g}"
