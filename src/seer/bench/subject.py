"""What is measured: an agent as `seer train` runs it, once before the freeze and once after it.

Everything is made by `build.py` from the paper's settings, so a faster part is measured without a change here.
"""

import dataclasses
import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from rich.console import Console

from seer.bench.timing import Plan, Progress, no_progress
from seer.config import AgentName, Config, config_to_json
from seer.envs import PixelEnvironment
from seer.envs.base import Info, Pixels, State
from seer.errors import SettingError
from seer.presets import CONTROL, preset
from seer.replay import Replay, Streams
from seer.runs.folder import RunFolder
from seer.runs.logger import Logger, run_logger
from seer.runs.stop_signal import StopSignal
from seer.runs.terminal import Terminal
from seer.training.build import build, build_environment
from seer.training.events import Events
from seer.training.loop import freeze
from seer.training.state import TrainingState
from seer.validation import validate

ATARI_TASK, CONTROL_TASK = "ALE/Alien-v5", "dm_control/cartpole-swingup-v0"
"""Alien has all 18 actions; cartpole-swingup is the first task of the paper's table."""

NEVER = 10**9
"""A step no measurement comes to."""


@dataclass(frozen=True)
class Step:
    """One recorded step: the newest frame [C, H, W] or its latents [K, N, L], what was done, and what came of it."""

    frame: Pixels | torch.Tensor
    action: Any
    reward: float
    over: bool


class CountingEvents(Events):
    """The events of a real run, which stop the loop after so many steps."""

    steps_left = 0

    def __init__(self, run: TrainingState, folder: RunFolder, logger: Logger) -> None:
        super().__init__(run, folder, logger)
        self.stop = StopSignal(logger.say)

    def on_step(self, info: Info) -> None:
        """Ask the loop to stop at the last step."""
        super().on_step(info)
        self.steps_left -= 1
        self.stop.requested |= self.steps_left == 0


@dataclass(frozen=True)
class Subject:
    """One agent, made twice from the same seed.

    Attributes:
        before, after: events, writing to a scratch folder, of a run before the freeze and of one after it.
        recording: the steps that fill the replays.
        environment: one more of the kind, to be stepped alone; None where it can't be made.
        missing: why it can't.
    """

    config: Config
    before: CountingEvents
    after: CountingEvents
    recording: Sequence[Step]
    environment: PixelEnvironment | None
    missing: str | None

    @property
    def agent(self) -> AgentName:
        """Its name."""
        return self.config.agent

    @property
    def frames(self) -> TrainingState:
        """The run before the freeze."""
        return self.before.run

    @property
    def latents(self) -> TrainingState:
        """The run after it; its agent's phase says what its replay holds."""
        return self.after.run

    @property
    def device(self) -> torch.device:
        """Where networks and replay live."""
        return self.frames.agent.device


class StandIn(PixelEnvironment):
    """Noise in the shapes of an environment that can't be made here: enough for agent and replay, never stepped."""

    def _begin(self, seed: int | None) -> tuple[Pixels, Info]:
        return np.random.default_rng(seed).integers(256, size=self.frame_shape, dtype=np.uint8), {}

    def _advance(self, action: Any) -> tuple[Pixels, float, bool, bool, Info]:
        del action
        return self._begin(None)[0], 0.0, False, False, {}

    def _simulator_state(self) -> State:
        return {}

    def _load_simulator_state(self, state: State) -> None:
        del state

    def render(self) -> Pixels:
        """The newest frame, RGB uint8 [H, W, 3]."""
        return np.resize(self._frames[-1].transpose(1, 2, 0), (*self.frame_shape[1:], 3))


def bench_config(agent: AgentName, plan: Plan, *, device: str, threads: int | None) -> Config:
    """What `seer train` takes for an agent, without evaluations and checkpoints, and with a replay of `plan.rows`.

    `threads` None leaves the preset's, and one per core where it sets none.
    """
    config = preset(ATARI_TASK if agent in ("rainbow", "dqn") else CONTROL_TASK, agent)
    chosen = threads if threads is not None else config.threads
    return validate(
        dataclasses.replace(
            config,
            device=device,
            threads=chosen if chosen is not None else torch.get_num_threads(),
            eval_every=NEVER,
            checkpoint_every=NEVER,
            eval_episodes=1,
            # Twice as many as stored: a run's replay isn't full before the freeze either.
            replay=dataclasses.replace(config.replay, capacity=2 * plan.rows[kind(config)]),
        )
    )


def period(config: Config) -> int:
    """Updates after which their work repeats: SAC's actor and target move in some of them only."""
    if config.agent in ("rainbow", "dqn"):
        return 1  # the target's copy, once in 2,000 updates, is left to chance
    return int(np.lcm(config.sac.actor_every, config.learning.target_every))


def kind(config: Config) -> str:
    """The kind of environment, as `Plan` has it."""
    return "control" if config.env.startswith(CONTROL) else "atari"


def stand_in(config: Config) -> StandIn:
    """Noise in the shapes of the configured environment: as on Alien or cartpole-swingup."""
    control = kind(config) == "control"
    space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32) if control else gymnasium.spaces.Discrete(18)
    size, image = config.image.size, config.image
    shape = (3 if control else 1, size, size)
    return StandIn(shape, stack=image.stack, action_repeat=image.action_repeat, action_space=space)


@contextmanager
def prepared(config: Config, plan: Plan, scratch: Path, progress: Progress) -> Iterator[Subject]:
    """Play, fill two replays, freeze one of the two agents; their loggers are closed in the end."""
    environment, missing = _environment(config)
    recording = record(environment or stand_in(config), plan.recorded[kind(config)], progress)
    with ExitStack() as files:
        before, after = (
            _start(config, environment, recording, plan=plan, folder=scratch / name, files=files)
            for name in ("before", "after")
        )
        freeze(after.run, after, after.stop)
        yield Subject(config, before, after, recording, environment, missing)


def _start(
    config: Config,
    environment: PixelEnvironment | None,
    recording: Sequence[Step],
    *,
    plan: Plan,
    folder: Path,
    files: ExitStack,
) -> CountingEvents:
    """A run at its first update, with a filled replay and a logger."""
    run = build(config, None if environment else stand_in(config))
    fill(run.replay, recording, plan.rows[kind(config)])
    run.step = run.schedule.first_update
    run.agent.decisions = config.sac.random_steps
    written = files.enter_context(RunFolder.create(folder, config_to_json(config)))
    logger = files.enter_context(run_logger(written, _silent_terminal()))
    return CountingEvents(run, written, logger)


def record(environment: PixelEnvironment, steps: int, progress: Progress, *, seed: int = 0) -> list[Step]:
    """Play `steps` random steps."""
    recording: list[Step] = []
    observation, _ = environment.reset(seed=seed)
    environment.action_space.seed(seed)
    for done in range(steps):
        progress(done, steps, "playing")
        action = environment.action_space.sample()
        frame = observation[-1].copy()
        observation, reward, terminated, truncated, _ = environment.step(action)
        recording.append(Step(frame, action, float(reward), terminated or truncated))
        if terminated or truncated:
            observation, _ = environment.reset()
    progress(steps, steps, "")
    return recording


def fill(replay: Replay | Streams, recording: Sequence[Step], rows: int, progress: Progress = no_progress) -> None:
    """Append `rows` steps, the recording again and again."""
    for done, step in enumerate(itertools.islice(itertools.cycle(recording), rows)):
        if done % 1000 == 0:
            progress(done, rows, "filling a replay")
        replay.streams[0].append(step.frame, step.action, step.reward, terminated=step.over)
    progress(rows, rows, "")


def _environment(config: Config) -> tuple[PixelEnvironment | None, str | None]:
    """The environment or, for DeepMind Control where it isn't installed or can't be drawn, the reason."""
    try:
        return build_environment(config, training=True), None
    except SettingError as error:
        if kind(config) != "control":
            raise
        return None, str(error)


def _silent_terminal() -> Terminal:
    return Terminal(Console(file=io.StringIO()), quiet_seconds=float("inf"))
