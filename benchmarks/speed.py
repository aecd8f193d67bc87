"""Time the agents as `seer train` runs them, beside Stable-Baselines3's DQN (for Rainbow) and SAC (for CURL).

    pip install -e '.[bench,dm-control]'
    python benchmarks/speed.py --json speed.json --markdown docs/speed.md             # minutes
    python benchmarks/speed.py --agents rainbow --quick                               # only to see that it runs

Each agent is made from the paper's settings, twice, once before the freeze and once after it; its replay holds frames
of Alien or cartpole-swingup that were really played. docs/speed.md explains the rows. Close other programs first.
"""

import argparse
import copy
import dataclasses
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.benchmark import Measurement

from played import Step, fill_replay, record
from report import machine, number, table, versions
from sb3_rows import NEVER, ROW_OF, peer_name, sb3_rows
from seer.config import Config, config_to_json
from seer.envs.base import PixelEnvironment
from seer.presets import preset
from seer.runs.folder import RunFolder
from seer.runs.logger import run_logger
from seer.runs.terminal import Terminal
from seer.signals import StopSignal
from seer.training.build import build
from seer.training.build_environment import build_environment
from seer.training.build_replay import build_replay
from seer.training.events import Events
from seer.training.loop import advance, freeze, learn
from seer.training.saving import Checkpointer
from seer.training.state import TrainingState
from seer.validation import validate
from timing import CLOCK, Row, interleave, milliseconds

ALIEN, CARTPOLE = "ALE/Alien-v5", "dm_control/cartpole-swingup-v0"
TASKS: dict[str, str] = {"rainbow": ALIEN, "dqn": ALIEN, "sac": CARTPOLE, "curl": CARTPOLE}
"""Alien has all 18 actions; cartpole-swingup is the first task of the paper's table."""

RATIOS = {
    "Rainbow update on frames / SB3 DQN update": ("rainbow/update/frames", "sb3-dqn/update"),
    "Rainbow update on latents / SB3 DQN update": ("rainbow/update/latents", "sb3-dqn/update"),
    "CURL update on frames / SB3 SAC update": ("curl/update/frames", "sb3-sac/update"),
    "CURL update on latents / SB3 SAC update": ("curl/update/latents", "sb3-sac/update"),
    "Rainbow act / SB3 DQN predict": ("rainbow/act", "sb3-dqn/act"),
    "conversion / encoder's forward pass, Rainbow": ("rainbow/transcode", "rainbow/forward"),
    "conversion / encoder's forward pass, CURL": ("curl/transcode", "curl/forward"),
}

CHUNK = 32
"""Observations of the forward pass that the conversion is compared with: the replay converts as many at a time."""

BEGIN, END = "<!-- speed.py: begin -->", "<!-- speed.py: end -->"
"""`--markdown` writes between these lines; the rest of the file is left alone."""


@dataclass(frozen=True)
class Plan:
    """How long to measure, with how much stored; Atari's figures first, then DeepMind Control's.

    `rows` are more than a processor's caches hold; of them `played` are recorded steps, the others repeat these.
    `converted` rows are converted to latents at a time.
    """

    rounds: int
    slice_seconds: float
    rows: tuple[int, int]
    played: tuple[int, int]
    converted: tuple[int, int]
    small: bool = False


FULL = Plan(15, 0.1, rows=(8000, 3000), played=(2500, 150), converted=(512, 64))
QUICK = Plan(1, 1e-3, rows=(120, 60), played=(60, 20), converted=(40, 16), small=True)


@dataclass(frozen=True)
class Subject:
    """One agent, made twice from the same seed: a run before the freeze and a run after it, with their loggers.

    `recording` fills the replays; `environment` is one more of the kind, to be stepped alone.
    """

    config: Config
    plan: Plan
    before: Events
    after: Events
    recording: Sequence[Step]
    environment: PixelEnvironment

    def of(self, figures: tuple[int, int]) -> int:
        """Return the plan's figure for this kind of environment."""
        return _of_kind(self.config, figures)


def speed_config(agent: str, plan: Plan, *, device: str, threads: int | None, compiled: bool = False) -> Config:
    """Return the settings that `seer train` takes, without evaluations and checkpoints.

    A replay has room for twice as much as is stored: a run's isn't full before the freeze either.
    """
    config = preset(TASKS[agent], agent)
    learning, image = config.learning, config.image
    if plan.small:
        learning = dataclasses.replace(learning, batch_size=8, hidden_units=32)
        image = dataclasses.replace(image, size=50, crop_size=42) if TASKS[agent] == CARTPOLE else image
    config = dataclasses.replace(
        config, device=device, threads=threads or config.threads or torch.get_num_threads(), compile=compiled,
        learning=learning, image=image, eval_every=NEVER, checkpoint_every=NEVER, eval_episodes=1,
        replay=dataclasses.replace(config.replay, capacity=2 * _of_kind(config, plan.rows)),
    )  # fmt: skip
    return validate(config)


@contextmanager
def prepared(config: Config, plan: Plan) -> Iterator[Subject]:
    """Play, fill two replays, freeze one of the two agents."""
    environment = build_environment(config, training=True)
    recording = record(environment, _of_kind(config, plan.played))
    with ExitStack() as files:
        scratch = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="seer-speed-")))
        rows = _of_kind(config, plan.rows)
        before, after = (_start(config, recording, rows, scratch / name, files) for name in ("before", "after"))
        freeze(after.run, after, StopSignal(after.logger.say))
        yield Subject(config, plan, before, after, recording, environment)


def _start(config: Config, recording: Sequence[Step], rows: int, folder: Path, files: ExitStack) -> Events:
    """Make a run at its first update, with a filled replay and a logger that writes to a scratch folder."""
    run = build(config)
    fill_replay(run.replay.replays[0], recording, rows)
    run.step = run.config.first_update
    run.agent.decisions = config.sac.random_steps  # no random actions any more
    written = files.enter_context(RunFolder.create(folder, config_to_json(config)))
    terminal = Terminal(Console(file=io.StringIO()), quiet_seconds=float("inf"))
    return Events(run, written, files.enter_context(run_logger(written, terminal)))


def _training_step(events: Events) -> Callable[[], object]:
    """Return a whole training step."""
    stop, checkpointer = StopSignal(events.logger.say), Checkpointer(events.run, events.folder, events)
    return lambda: advance(events.run, events, checkpointer, stop)


def _of_kind(config: Config, figures: tuple[int, int]) -> int:
    return figures[config.env == CARTPOLE]


# Rows ------------------------------------------------------------------------------------------------------------


def seer_rows(subject: Subject) -> list[Row]:
    """Return every row of an agent, named `<agent>/<row>`."""
    config, before, after = subject.config, subject.before.run, subject.after.run
    batch, exponent = before.config.learning.batch_size, before.config.replay.importance_exponent
    observation = before.environment.observe()
    newest = torch.from_numpy(observation[None]).to(before.agent.device)
    # SAC's actor and target move in some updates only; Rainbow's copy to the target, one in 2,000, is left to chance.
    cycle = int(np.lcm(config.sac.actor_every, config.learning.target_every)) if config.env == CARTPOLE else 1

    def again(call: Callable[[], object]) -> Callable[[], object]:
        return lambda: [call() for _ in range(cycle)]

    rows = [
        Row("update/frames", again(lambda: learn(before)), cycle),
        Row("update/latents", again(lambda: learn(after)), cycle),
        Row("act", lambda: before.agent.explore(observation)),
        Row("act/latents", lambda: after.agent.explore(observation)),
        Row("encode", lambda: after.agent.encode(newest)),
        Row("sample", lambda: before.replay.sample(batch, exponent)),
        Row("sample/latents", lambda: after.replay.sample(batch, exponent)),
        Row("transcode", _transcode(subject), subject.of(subject.plan.converted)),
        Row("forward", _forward(before, after, config.view_size), CHUNK),
        Row("step", _step(subject.environment)),
        Row("loop/frames", again(_training_step(subject.before)), cycle),
        Row("loop/latents", again(_training_step(subject.after)), cycle),
    ]
    return [dataclasses.replace(row, name=f"{config.agent}/{row.name}") for row in rows]


def _transcode(subject: Subject) -> Callable[[], object]:
    """Convert a replay of frames; before each time, with the clock stopped, it is given its frames back."""
    config, run, agent = subject.config, subject.before.run, subject.after.run.agent
    rows = subject.of(subject.plan.converted)
    room = rows + config.learning.batch_size + config.replay.n_step
    config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, capacity=room))
    num_bytes = room * subject.recording[0].frame.nbytes
    replay = build_replay(config, run.environment, agent.device, np.random.default_rng(0), num_bytes=num_bytes)
    fill_replay(replay.replays[0], subject.recording, rows)
    state = copy.deepcopy(replay.state_dict())

    def call() -> None:
        with CLOCK.stopped():
            replay.load_state_dict(state)
        replay.transcode(agent.encode, agent.latent)

    return call


def _forward(before: TrainingState, after: TrainingState, view_size: int) -> Callable[[], object]:
    """Run the encoder alone, on inputs that lie ready: K crops of as many observations as are converted at a time."""
    encoder, crops = after.agent.online.encoder, after.agent.latent.shape[0]
    frames = before.replay.sample(CHUNK).now[..., :view_size, :view_size]
    inputs = encoder.inputs(frames.repeat_interleave(crops, 0))

    def call() -> None:
        with torch.no_grad():
            encoder.encode(inputs)

    return call


def _step(environment: PixelEnvironment) -> Callable[[], object]:
    """Take one random step; an episode that ends is followed by the next one's start, as in training."""
    environment.reset(seed=1)

    def call() -> None:
        _, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
        if terminated or truncated:
            environment.reset()

    return call


# Measuring and writing -------------------------------------------------------------------------------------------


def measure(subject: Subject) -> dict[str, Measurement]:
    """Time the rows of one agent and those it is compared with, all interleaved."""
    config, plan = subject.config, subject.plan
    peer = build_environment(config, training=True)
    rows = seer_rows(subject) + sb3_rows(config, peer, subject.recording, rows=subject.of(plan.rows))
    threads = config.threads or 1
    return interleave(rows, rounds=plan.rounds, slice_seconds=plan.slice_seconds, threads=threads)


def report_of(configs: Sequence[Config], measured: Mapping[str, Measurement]) -> dict[str, Any]:
    """Return what `--json` writes: machine, versions, rows in the order measured, and the ratios of `RATIOS`."""
    peers = {
        f"{config.agent}/{ours}": f"{peer_name(config)}/{theirs}"
        for config in configs for ours, theirs in ROW_OF.items()
    }  # fmt: skip

    def ratio(row: str, other: str) -> float:
        return measured[row].median / measured[other].median

    threads = {config.agent: config.threads for config in configs}
    return {
        "machine": machine() | {"device": configs[0].device, "threads": threads},
        "versions": versions(),
        "rows": [
            {"name": name, **milliseconds(each), "ratio_to_peer": ratio(name, peers[name]) if name in peers else None}
            for name, each in measured.items()
        ],
        "ratios": {name: ratio(*rows) for name, rows in RATIOS.items() if set(rows) <= measured.keys()},
    }


def tables(report: Mapping[str, Any]) -> str:
    """Return the report as text and Markdown: machine and versions, rows, ratios."""
    facts = ", ".join(f"{name} {value}" for name, value in (report["machine"] | report["versions"]).items())
    lines = [
        (row["name"], number(row["milliseconds"]), " to ".join(map(number, row["quartiles"])),
         number(1e3 / row["milliseconds"]), number(row["ratio_to_peer"]))
        for row in report["rows"]
    ]  # fmt: skip
    ratios = [(name, number(value)) for name, value in report["ratios"].items()]
    rows = table(("row", "ms", "quartiles", "per second", "of SB3's time"), lines)
    return "\n\n".join([facts, rows, *([table(("ratio", "measured"), ratios)] if ratios else [])])


def write_between_marks(page: Path, text: str) -> None:
    """Replace what stands between the two marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the files that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=TASKS, default=["rainbow", "curl"])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--threads", type=int, help="default: as seer train, 1 on Atari, one per core elsewhere")
    parser.add_argument("--compile", action="store_true", help="Rainbow and DQN as seer train --compile runs them")
    parser.add_argument("--quick", action="store_true", help="tiny networks and hardly any rounds: nothing to quote")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--markdown", type=Path, help=f"write the tables to this file, between {BEGIN} and {END}")
    given = parser.parse_args(arguments)
    if given.json and not given.json.parent.is_dir():
        parser.error(f"--json {given.json}: its folder doesn't exist; make it or give another place")
    if given.markdown and not (given.markdown.is_file() and BEGIN in given.markdown.read_text().partition(END)[0]):
        parser.error(f"--markdown {given.markdown}: give a file that has the lines {BEGIN} and {END}")
    plan = QUICK if given.quick else FULL
    measured: dict[str, Measurement] = {}
    configs = [
        speed_config(agent, plan, device=given.device, threads=given.threads, compiled=given.compile)
        for agent in given.agents
    ]
    for config in configs:
        with prepared(config, plan) as subject:
            measured |= measure(subject)
    report = report_of(configs, measured)
    print(tables(report))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    if given.markdown:
        write_between_marks(given.markdown, tables(report))


if __name__ == "__main__":
    main()
