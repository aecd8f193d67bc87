"""Hours of training, measured: a few steps of each kind of run by the real loop, on this machine."""

import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seer.config import Config, FreezeConfig, ReplayConfig
from seer.envs.registry import suite_of
from seer.errors import SettingError, naming
from seer.signals import held_back, let_in, stop_with
from seer.sweeps.plan import Planned
from seer.training.build import build
from seer.training.loop import collect, is_due, learn

TIMED_UPDATES = 5


def timed(planned: Sequence[Planned], root: Path) -> list[Planned]:
    """Return the same with the seconds of the runs that aren't finished in `root`; train a few steps of each kind.

    In a process of its own, whose memory and threads are gone when the sweep trains. SettingError where a kind of run
    doesn't train.
    """
    speeds: dict[Config, tuple[float, float]] = {}
    with another_process() as call:
        for each in planned:
            kind = kind_of_speed(each.config)
            if kind in speeds or each.is_finished(root):
                continue
            stands = ", which stands for all games" if kind.env != each.config.env else ""
            print(f"measuring the speed of {kind.agent} on {kind.env}{stands}")
            try:
                with naming(each.trial.name):
                    speeds[kind] = call(measure_seconds, kind)
            except BrokenProcessPool:
                raise SettingError(
                    f"{each.trial.name}: measuring its speed was killed; the machine may be out of memory. "
                    "--no-measure leaves it out"
                ) from None

    def seconds(config: Config) -> float | None:
        if (speed := speeds.get(kind_of_speed(config))) is None:
            return None
        frozen_at = config.steps if config.freeze_step is None else config.freeze_step
        return frozen_at * speed[0] + (config.steps - frozen_at) * speed[1]

    return [dataclasses.replace(each, seconds=seconds(each.config)) for each in planned]


@contextmanager
def another_process() -> Iterator[Callable[..., Any]]:
    """Give a function that calls another one in a process of its own, which Ctrl-C ends without a traceback."""
    context, this = multiprocessing.get_context("spawn"), (os.getpid(),)
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=this) as process:

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            with held_back():  # while it starts
                result = process.submit(function, *arguments)
            return result.result()

        yield call


def _begin(parent: int) -> None:
    """Let this process end when it is asked to, and with the one that started it, on which it would wait for ever."""
    stop_with(parent)
    let_in(signal.SIG_DFL)


def measure_seconds(config: Config) -> tuple[float, float]:
    """Measure the seconds of one training step before and after the freeze, of a few steps of the real loop."""
    rows = config.learning.batch_size + config.replay.n_step + config.image.stack + 50
    replay = dataclasses.replace(config.replay, memory=None, capacity=4 * rows)
    run = build(dataclasses.replace(config, replay=replay, eval_episodes=1, num_envs=1))
    while run.step < rows:
        run.step += 1
        collect(run)

    def seconds_per_step() -> float:
        learn(run)  # the first one sets things up
        started = time.perf_counter()
        steps = TIMED_UPDATES * run.config.learning.update_every
        for step in range(steps):
            run.step += 1
            collect(run)
            for _ in range(run.config.learning.updates_per_step * is_due(run.config.learning.update_every, step)):
                learn(run)
        return (time.perf_counter() - started) / steps

    before = seconds_per_step()
    run.agent.freeze_and_transcode(run.replay)
    return before, seconds_per_step()


def kind_of_speed(config: Config) -> Config:
    """Return the config with all equal that doesn't change the speed of a step; one Atari game stands for all."""
    suite, plain = suite_of(config.env), Config(env=config.env)
    # A module of one's own that is frozen from the start is cut elsewhere than one that learns first.
    at = "0" if config.freeze.encoder_factory is not None and config.freeze_step == 0 else "1"
    shape = ("num_crops", "layers", "latent_dtype", "latent_pool", "encoder_factory")
    same = ("seed", "steps", "eval_every", "eval_episodes", "checkpoint_every", "log_every", "out")
    return dataclasses.replace(
        config,
        env=suite.example if suite.costs_alike else config.env,
        replay=ReplayConfig(prioritized=config.replay.prioritized, n_step=config.replay.n_step),
        freeze=FreezeConfig(at=at, **{name: getattr(config.freeze, name) for name in shape}),
        **{name: getattr(plain, name) for name in same},
    )
