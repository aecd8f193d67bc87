"""What a sweep will cost, from real parts: FLOPs from the agent's own networks, bytes from the replay's rows, hours
from a few steps of the real loop on this machine.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from seer.build import build, build_agent, build_environment, build_schedule, replay_bytes
from seer.config import Config, FreezeConfig, ReplayConfig
from seer.experiments.grid import short_name
from seer.experiments.sweep import Room
from seer.experiments.tables import run_flops
from seer.experiments.trials import Needs, Trial, state_of
from seer.phase import Phase
from seer.presets import CONTROL
from seer.replay import RowFormat
from seer.training.loop import collect, learn
from seer.training.terminal import human_bytes

PROCESS_BYTES, CONTROL_PROCESS_BYTES = 700_000_000, 1_500_000_000
"""Memory of a training process beside its replay: libraries, networks, activations; more where pictures are rendered
and batches are large. Rounded up from peaks of Rainbow and CURL runs on the CPU."""
TIMED_UPDATES = 5
WIDE = 118  # columns that the table needs


@dataclass(frozen=True)
class Planned:
    """A trial with its resolved settings and what it will cost.

    flops, baseline: multiply-adds of the run, and of the same run without a freeze.
    num_bytes: of its replay. row_bytes: of one stored step before and after the freeze.
    seconds: of acting and learning on this machine, without evaluations; None if not measured.
    """

    trial: Trial
    config: Config
    flops: int
    baseline: int
    num_bytes: int
    row_bytes: tuple[int, int]
    seconds: float | None

    @property
    def needs(self) -> Needs:
        """Cores and memory while it trains."""
        process = CONTROL_PROCESS_BYTES if self.config.env.startswith(CONTROL) else PROCESS_BYTES
        return Needs(cpus=(self.config.threads or 1) + self.config.num_envs - 1, num_bytes=self.num_bytes + process)


def plan(trials: Sequence[tuple[Trial, Config]], *, measure: bool, say: Callable[[str], None]) -> list[Planned]:
    """What every trial will cost; `measure` trains a few steps of each kind of run to tell the hours.

    Raises:
        SettingError: a trial's settings don't fit its environment.
    """
    costs: dict[Config, tuple[int, int, int, tuple[int, int]]] = {}
    speeds: dict[Config, tuple[float, float]] = {}
    planned = []
    for trial, config in trials:
        same = dataclasses.replace(config, seed=0)
        if same not in costs:
            costs[same] = _cost(config)
        seconds = None
        if measure:
            kind = _kind_of_speed(config)
            if kind not in speeds:
                say(f"measuring the speed of {config.agent} on {config.env}")
                speeds[kind] = measure_seconds(kind)
            frozen_at = config.steps if config.freeze_step is None else config.freeze_step
            before, after = speeds[kind]
            seconds = frozen_at * before + (config.steps - frozen_at) * after
        planned.append(Planned(trial, config, *costs[same], seconds))
    return planned


def measure_seconds(config: Config) -> tuple[float, float]:
    """Seconds of one training step before and after the freeze, of a few steps of the real loop."""
    rows = config.learning.batch_size + config.replay.n_step + config.image.stack + 50
    replay = dataclasses.replace(config.replay, memory=None, capacity=4 * rows)
    run = build(dataclasses.replace(config, replay=replay, eval_episodes=1, num_envs=1))
    while run.step < rows:
        run.step += 1
        collect(run)

    def seconds_per_step() -> float:
        learn(run)  # the first one sets things up
        started = time.perf_counter()
        for _ in range(TIMED_UPDATES):
            run.step += 1
            collect(run)
            for _ in range(run.schedule.updates_per_step):
                learn(run)
        return (time.perf_counter() - started) / TIMED_UPDATES

    before = seconds_per_step()
    run.agent.freeze(run.phase_after_freeze)
    run.replay.transcode(run.agent.encode, run.agent.latent)
    return before, seconds_per_step()


def print_plan(planned: Sequence[Planned], *, root: Path, room: Room) -> None:
    """A row per environment and arm, the command of each, and what all of it takes."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="FLOPs in brackets: of the same run without a freeze"
    )
    for name in ("env", "arm"):
        table.add_column(name, overflow="fold")
    for name in ("runs", "steps", "freeze", "FLOPs a run", "replay", "bytes a step", "hours a run"):
        table.add_column(name, justify="right", no_wrap=True)
    for alike in _by_arm(planned):
        first, trial = alike[0], alike[0].trial
        states = [state_of(each.trial.folder(root)) for each in alike]
        done = f" ({states.count('finished')} done)" if "finished" in states else ""
        before, after = first.row_bytes
        table.add_row(
            short_name(trial.env),
            trial.arm,
            f"{len(alike)}{done}",
            f"{first.config.steps:,}",
            first.config.freeze.at,
            f"{first.flops:.2e} ({first.flops / first.baseline:.0%})",
            human_bytes(first.num_bytes),
            f"{before}" if before == after else f"{before} → {after}",
            "?" if first.seconds is None else f"{first.seconds / 3600:.2f}",
        )
    for alike in _by_arm(planned):
        seeds = ",".join(str(each.trial.seed) for each in alike)
        flags = list(alike[0].trial.flags)
        flags[flags.index("--seed") + 1] = f"{{{seeds}}}" if len(alike) > 1 else seeds
        console.print(f"seer train {' '.join(flags)}", markup=False)
    Console(width=max(console.width, WIDE)).print(table)
    console.print(_total(planned, root, room))


def _total(planned: Sequence[Planned], root: Path, room: Room) -> str:
    left = [each for each in planned if state_of(each.trial.folder(root)) != "finished"]
    jobs = _jobs(left, room)
    flops, largest = sum(each.flops for each in left), max((each.num_bytes for each in left), default=0)
    memory, disk = jobs * max((each.needs.num_bytes for each in left), default=0), jobs * 2 * largest
    line = (
        f"{len(planned)} runs, {len(left)} to go, {jobs} at a time here: {flops:.3g} FLOPs; at most "
        f"{human_bytes(memory)} of memory and {human_bytes(disk)} of checkpoints at a time"
    )
    if left and all(each.seconds is not None for each in left):
        hours = sum(each.seconds or 0 for each in left) / 3600
        line += (
            f"; {hours:.1f} hours of training one by one, {hours / jobs:.1f} here, at the speed just measured, "
            "without evaluations"
        )
    return line


def _jobs(planned: Sequence[Planned], room: Room) -> int:
    """Trials of the largest kind that fit here at a time."""
    if not planned:
        return 1
    largest = max((each.needs for each in planned), key=lambda needs: (needs.cpus, needs.num_bytes))
    taken = [largest]
    while room.fits(largest, taken) and len(taken) < len(planned):
        taken.append(largest)
    return len(taken)


def _by_arm(planned: Sequence[Planned]) -> list[list[Planned]]:
    groups: dict[tuple[str, str], list[Planned]] = {}
    for each in planned:
        groups.setdefault((each.trial.env, each.trial.arm), []).append(each)
    return list(groups.values())


def _cost(config: Config) -> tuple[int, int, int, tuple[int, int]]:
    """FLOPs with and without the freeze, replay bytes, bytes of a row before and after."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0])
    frame = RowFormat(environment.frame_shape, torch.uint8)
    after = Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=agent.latent.num_bytes)
    num_bytes = replay_bytes(config, frame)
    never, total = run_flops(
        agent.cost,
        after=after,
        updates=config.learning.updates_per_step,
        steps=config.steps,
        first_update=build_schedule(config).first_update,
        frozen_at=config.freeze_step,
        capacity=num_bytes // frame.num_bytes,
    )
    freezes = config.freeze_step is not None and after is Phase.LATENTS
    return total, never, num_bytes, (frame.num_bytes, agent.latent.num_bytes if freezes else frame.num_bytes)


def _kind_of_speed(config: Config) -> Config:
    """The config with everything equal that doesn't change the speed of a step; one Atari game stands for all."""
    plain = Config(env=config.env)
    env = "ALE/Alien-v5" if config.env.startswith("ALE/") else config.env
    replay = ReplayConfig(prioritized=config.replay.prioritized, n_step=config.replay.n_step)
    freeze = FreezeConfig(at="1", num_crops=config.freeze.num_crops, layers=config.freeze.layers)
    same = ("seed", "steps", "eval_every", "eval_episodes", "checkpoint_every", "log_every", "out")
    return dataclasses.replace(
        config, env=env, replay=replay, freeze=freeze, **{name: getattr(plain, name) for name in same}
    )
