"""What a sweep will cost, from real parts: FLOPs from the agent's own networks, bytes from the replay's rows and the
run's own memory budget, hours from a few steps of the real loop on this machine.
"""

import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from seer.budget import disk_bytes
from seer.build import build, build_agent, build_budget, build_environment, build_schedule
from seer.config import Config, FreezeConfig, ReplayConfig
from seer.cost import run_flops
from seer.errors import SettingError
from seer.flops import Cost
from seer.phase import Phase
from seer.replay import RowFormat
from seer.sweeps.options import Pool
from seer.sweeps.trial import Needs, Trial, state_of
from seer.training.loop import collect, learn
from seer.validation import parse_memory

TIMED_UPDATES = 5


@dataclass(frozen=True)
class Planned:
    """A trial with its resolved settings and what it will cost.

    needs: cores and memory while it trains.
    flops, baseline: multiply-adds of the run, and of the same run without a freeze.
    num_bytes: of its replay. disk_bytes: of its checkpoints, at most.
    row_bytes: of one stored step before and after the freeze.
    seconds: of acting and learning on this machine, without evaluations; None if not measured.

    With --freeze-at auto, flops and seconds are the most it can come to (`is_bound`).
    """

    trial: Trial
    config: Config
    needs: Needs
    flops: int
    baseline: int
    num_bytes: int
    disk_bytes: int
    row_bytes: tuple[int, int]
    seconds: float | None = None

    @property
    def is_bound(self) -> bool:
        """Whether the run finds out when to freeze, so that its cost can only be bounded."""
        return self.config.freeze.at == "auto"

    def is_finished(self, root: Path) -> bool:
        """Whether it needs no more training, in the sweep's folder `root`."""
        return state_of(self.trial.folder(root)) == "finished"


@contextmanager
def naming(trial: Trial) -> Iterator[None]:
    """What is wrong with one run of many says which."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{trial.name}: {error}") from error


def plan(trials: Sequence[tuple[Trial, Config]], pool: Pool) -> list[Planned]:
    """What every trial will cost, but for the hours.

    Raises:
        SettingError: a trial's settings don't fit its environment.
    """
    costs: dict[Config, Planned] = {}
    planned = []
    for trial, config in trials:
        same = dataclasses.replace(config, seed=0)
        if same not in costs:
            with naming(trial):
                costs[same] = _planned(trial, config, pool)
        planned.append(dataclasses.replace(costs[same], trial=trial, config=config))
    return planned


def timed(planned: Sequence[Planned], *, root: Path, say: Callable[[str], None]) -> list[Planned]:
    """The same with the seconds of what isn't finished in `root`: trains a few steps of each kind of run.

    In a process of its own, whose memory and threads are gone when the sweep trains.

    Raises:
        SettingError: a kind of run doesn't train.
    """
    speeds: dict[Config, tuple[float, float]] = {}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        for each in planned:
            kind = _kind_of_speed(each.config)
            if kind in speeds or each.is_finished(root):
                continue
            stands = ", which stands for all games" if kind.env != each.config.env else ""
            say(f"measuring the speed of {kind.agent} on {kind.env}{stands}")
            try:
                with naming(each.trial):
                    speeds[kind] = process.submit(measure_seconds, kind).result()
            except BrokenProcessPool:
                raise SettingError(
                    f"{each.trial.name}: measuring its speed was killed; the machine may be out of memory. "
                    "--no-measure leaves it out"
                ) from None

    def seconds(config: Config) -> float | None:
        if (speed := speeds.get(_kind_of_speed(config))) is None:
            return None
        frozen_at = config.steps if config.freeze_step is None else config.freeze_step
        return frozen_at * speed[0] + (config.steps - frozen_at) * speed[1]

    return [dataclasses.replace(each, seconds=seconds(each.config)) for each in planned]


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


def _planned(trial: Trial, config: Config, pool: Pool) -> Planned:
    """A trial and its costs; it asks for its own memory budget, but for what was set by hand."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame, latent = RowFormat(environment.frame_shape, torch.uint8), agent.latent
    after = Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=latent.num_bytes)
    budget = build_budget(config, environment, agent)
    flops, baseline = _flops(config, agent.cost, after=after, capacity=budget.replay // frame.num_bytes)
    stores_latents = config.freeze.at != "never" and after is Phase.LATENTS
    return Planned(
        trial=trial,
        config=config,
        needs=Needs(
            cpus=pool.trial_cpus or (config.threads or 1) + config.num_envs - 1,
            num_bytes=budget.total if pool.trial_memory is None else parse_memory(pool.trial_memory),
            gpus=pool.trial_gpus,
        ),
        flops=flops,
        baseline=baseline,
        num_bytes=budget.replay,
        disk_bytes=disk_bytes(
            agent, budget.replay, new=config.checkpoint_every * frame.num_bytes, compared=config.freeze.probe_size
        ),
        row_bytes=(frame.num_bytes, latent.num_bytes if stores_latents else frame.num_bytes),
    )


def _flops(config: Config, cost: Cost, *, after: Phase, capacity: int) -> tuple[int, int]:
    """Multiply-adds of the run and of the same one without a freeze; where it finds its freeze itself, at most."""
    first_update = build_schedule(config).first_update

    def at(moment: int | None) -> tuple[int, int]:
        return run_flops(
            cost, after=after, updates=config.learning.updates_per_step, steps=config.steps,
            first_update=first_update, frozen_at=moment, capacity=capacity,
        )  # fmt: skip

    never, total = at(config.freeze_step)
    freeze = config.freeze
    if freeze.at != "auto":
        return total, never
    # Linear in the moment between these, so the dearest freeze is at one of them, or there is none.
    corners = {freeze.earliest, first_update, capacity, config.steps}
    dearest = max(never, *(at(corner)[1] for corner in corners if corner <= config.steps))
    looked_at = 2 * freeze.probe_size * (config.steps // freeze.probe_every)
    return dearest + looked_at * cost.encoder.multiply_adds, never


def _kind_of_speed(config: Config) -> Config:
    """The config with everything equal that doesn't change the speed of a step; one Atari game stands for all."""
    plain = Config(env=config.env)
    env = "ALE/Alien-v5" if config.env.startswith("ALE/") else config.env
    replay = ReplayConfig(prioritized=config.replay.prioritized, n_step=config.replay.n_step)
    shape = ("num_crops", "layers", "latent_dtype", "latent_pool", "encoder_factory")
    freeze = FreezeConfig(at="1", **{name: getattr(config.freeze, name) for name in shape})
    same = ("seed", "steps", "eval_every", "eval_episodes", "checkpoint_every", "log_every", "out")
    return dataclasses.replace(
        config, env=env, replay=replay, freeze=freeze, **{name: getattr(plain, name) for name in same}
    )
