"""`seer flops` and `seer memory`: tables of cost and capacity, without any training."""

from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from seer.config import Config
from seer.core.flops import Cost
from seer.core.phase import Phase
from seer.replay import RowFormat
from seer.training.build import build_schedule
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.build_replay import replay_bytes


def print_flops(config: Config) -> None:
    """Print what a step costs before and after the freeze."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame = RowFormat(environment.frame_shape, torch.uint8)
    table = flops_table(
        config.env,
        agent.cost,
        updates=config.learning.updates_per_step,
        update_every=config.learning.update_every,
        steps=config.steps,
        first_update=build_schedule(config).first_update,
        frozen_at=config.freeze_step,
        capacity=replay_bytes(config, frame, agent.latent) // frame.num_bytes,
        after=Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=agent.latent.num_bytes),
    )
    Console().print(table)


def print_memory(config: Config) -> None:
    """Print what the replay holds before and after the freeze."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame = RowFormat(environment.frame_shape, torch.uint8)
    num_bytes = replay_bytes(config, frame, agent.latent)
    table = memory_table(config.env, num_bytes=num_bytes, frame=frame, latent=agent.latent)
    Console().print(table)


def flops_table(
    env: str,
    cost: Cost,
    *,
    after: Phase,
    updates: int,
    steps: int,
    first_update: int,
    frozen_at: int | None,
    capacity: int,
    update_every: int = 1,
) -> Table:
    """Tabulate what passes, steps and a whole run cost in multiply-adds (SEER, section 5): before, after, ratio.

    `after` is the phase that the freeze leads to; `updates` happen at each multiple of `update_every` from step
    `first_update` on, of `steps` in all, and the freeze comes at step `frozen_at` (None is never), to a replay that
    holds `capacity` frames.
    """
    table, row = _before_and_after(f"Multiply-adds, {env}")
    store = cost.store if after is Phase.LATENTS else 0
    row("encoder forward pass (E)", cost.encoder.multiply_adds, cost.encoder.multiply_adds)
    row("forward pass above it (M)", cost.above, cost.above)
    row("choosing an action", cost.act, cost.act)
    row("storing an observation (E K N)", 0, store)
    row(f"one update of {cost.batch_size} samples", cost.update(Phase.FRAMES), cost.update(after))
    mean = updates / update_every
    row("one training step", cost.step(Phase.FRAMES, updates=mean), cost.step(after, updates=mean))
    if frozen_at is not None:
        never, total = run_flops(
            cost,
            after=after,
            updates=updates,
            steps=steps,
            first_update=first_update,
            frozen_at=frozen_at,
            capacity=capacity,
            update_every=update_every,
        )
        row("converting the replay, once", 0, store * min(frozen_at, capacity))
        row(f"{steps:,} steps: never / at {frozen_at:,}", never, total)
    return table


def run_flops(
    cost: Cost,
    *,
    after: Phase,
    updates: int,
    steps: int,
    first_update: int,
    frozen_at: int | None,
    capacity: int,
    update_every: int = 1,
) -> tuple[int, int]:
    """Return the multiply-adds of a whole run: without a freeze, and with one at `frozen_at` (None is never).

    The other arguments are those of `flops_table`.
    """

    def updates_from(step: int) -> int:
        return updates * max(0, steps // update_every - (step - 1) // update_every)

    never = steps * cost.act + updates_from(first_update) * cost.update(Phase.FRAMES)
    if frozen_at is None:
        return never, never
    store = cost.store if after is Phase.LATENTS else 0
    saved = updates_from(max(frozen_at, first_update)) * (cost.update(Phase.FRAMES) - cost.update(after))
    return never, never - saved + (steps - frozen_at) * store + store * min(frozen_at, capacity)


def memory_table(env: str, *, num_bytes: int, frame: RowFormat, latent: RowFormat) -> Table:
    """Tabulate what a replay of `num_bytes` holds: frames before the freeze, latents [K, N, L] after it."""
    table, row = _before_and_after(f"Replay memory, {env}")
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
    return table


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
