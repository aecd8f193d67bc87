"""The rows of one agent: what is timed, through which call of the agent, the replay or the loop.

Names are `<agent>/<what>`, with the phase where it matters: `frames` before the freeze, `latents` after it.
"""

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from seer.agents.agent import Agent
from seer.bench.ceilings import Ceiling, convolutions
from seer.bench.floors import Counter, Work, learned_numbers, numbers
from seer.bench.subject import CountingEvents, Subject, fill, kind, period
from seer.bench.timing import Probe, Timing, synchronize, timed
from seer.core.phase import Phase
from seer.envs import PixelEnvironment
from seer.replay import Replay
from seer.training.build import build_replay
from seer.training.loop import learn, train
from seer.training.saving import Checkpointer
from seer.training.state import TrainingState

CONVERTED = {"atari": 512, "control": 64}
"""Rows per timed conversion."""

EVALUATION_GAMES = 10
"""Observations of the row `act/games`: an evaluation's games in lock-step."""

ENVIRONMENT = ("advance", "observe", "restart")
"""What the loop calls of an environment."""

CHUNK = 32
"""Observations of the forward pass that the conversion is compared with: as many as the replay converts at a time."""


def row_probes(subject: Subject) -> list[Probe]:
    """Every row of an agent that can be measured here."""
    agent, device, cycle = subject.agent, subject.device, period(subject.config)
    before, after = subject.frames, subject.latents
    batch, exponent = before.schedule.batch_size, before.schedule.importance_exponent
    observation = before.environment.observe()
    games = np.repeat(observation[None], EVALUATION_GAMES, 0)

    def probe(name: str, call: Callable[[], object], repeats: int = 1, size: int = 1) -> Probe:
        return Probe(f"{agent}/{name}", timed(call, device), repeats, size)

    probes = [
        probe("update/frames", lambda: learn(before), cycle),
        probe("update/latents", lambda: learn(after), cycle),
        probe("act", lambda: before.agent.decide(observation)),
        probe("act/latents", lambda: after.agent.decide(observation)),
        probe("act/games", lambda: after.agent.act(games)),
        probe("encode", lambda: after.agent.encode(torch.from_numpy(observation[None]).to(device))),
        probe("sample", lambda: before.replay.sample(batch, exponent)),
        probe("sample/latents", lambda: after.replay.sample(batch, exponent)),
        Probe(f"{agent}/transcode", _transcode(subject), size=CONVERTED[kind(subject.config)]),
        probe("forward", _forward(after.agent, before.replay.streams[0], subject.config.view_size), size=CHUNK),
    ]
    if subject.environment is not None:
        probes.append(probe("step", _step(subject.environment)))
        for phase, events in (("frames", subject.before), ("latents", subject.after)):
            probes.append(Probe(f"{agent}/loop/{phase}", _loop(events), cycle))
            probes.append(Probe(f"{agent}/overhead/{phase}", _overhead(events), cycle))
    return probes


def missing_rows(subject: Subject) -> dict[str, str]:
    """Rows that need an environment that can't be made, and why."""
    if subject.missing is None:
        return {}
    names = ("step", "loop/frames", "loop/latents", "overhead/frames", "overhead/latents")
    return {f"{subject.agent}/{name}": subject.missing for name in names}


def counter(subject: Subject) -> Counter:
    """What the floors of an agent's rows are made of."""
    before, after = subject.frames.agent, subject.latents.agent
    layers = convolutions(before, view_size=subject.config.view_size, batch=1)
    frame = subject.frames.replay.row
    acting = before.modules().get("actor", before.online.head)
    stack = subject.config.image.stack
    return Counter(
        cost=before.cost,
        convolved=sum(layer.multiply_adds for layer in layers),
        learned={Phase.FRAMES: learned_numbers(before), Phase.LATENTS: learned_numbers(after)},
        acting=numbers(before.online.encoder, acting),
        encoding=numbers(before.online.encoder),
        sampled_bytes={
            Phase.FRAMES: (3 * stack + min(subject.config.replay.n_step, stack)) * frame.num_bytes,
            Phase.LATENTS: 4 * after.latent.num_bytes // after.latent.shape[0],
        },
    )


def floors(subject: Subject, timings: dict[str, Timing], ceilings: dict[str, Ceiling]) -> dict[str, float]:
    """Milliseconds that each row takes at least; a loop's include its environment step as measured."""
    count = counter(subject)
    frame, latent = subject.frames.replay.row.num_bytes, subject.latents.agent.latent.num_bytes
    phases = {"frames": Phase.FRAMES, "latents": Phase.LATENTS}
    works: dict[str, Work] = {
        "act": count.act(Phase.FRAMES),
        "act/latents": count.act(Phase.LATENTS),
        "encode": count.encode(),
        "sample": count.sample(Phase.FRAMES),
        "sample/latents": count.sample(Phase.LATENTS),
        "transcode": count.transcode(frame_bytes=frame, latent_bytes=latent),
        "forward": count.transcode(frame_bytes=0, latent_bytes=0),
    } | {f"update/{name}": count.update(phase) for name, phase in phases.items()}
    found = {f"{subject.agent}/{name}": work.floor_milliseconds(ceilings) for name, work in works.items()}
    step = timings.get(f"{subject.agent}/step")
    if step is not None:
        updates = subject.frames.schedule.updates_per_step
        for name, phase in phases.items():
            work = sum((count.update(phase) for _ in range(updates)), count.act(phase))
            found[f"{subject.agent}/loop/{name}"] = work.floor_milliseconds(ceilings) + step.milliseconds
    return found


def _step(environment: PixelEnvironment) -> Callable[[], object]:
    """One random step; an episode that ends is followed by the next one's start, as in training."""
    environment.reset(seed=1)

    def call() -> None:
        _, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
        if terminated or truncated:
            environment.reset()

    return call


def _transcode(subject: Subject) -> Callable[[int], float]:
    """Convert a replay of frames; between the calls, outside the clock, it is given its frames back."""
    config, agent, device = subject.config, subject.latents.agent, subject.device
    rows = CONVERTED[kind(config)]
    room = rows + config.learning.batch_size + config.replay.n_step
    config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, capacity=room))
    num_bytes = room * subject.recording[0].frame.nbytes
    replay = build_replay(config, subject.frames.environment, device, np.random.default_rng(0), num_bytes=num_bytes)
    fill(replay, subject.recording, rows)
    state = copy.deepcopy(replay.state_dict())

    def measure(calls: int) -> float:
        seconds = 0.0
        for _ in range(calls):
            replay.load_state_dict(state)
            seconds += timed(lambda: replay.transcode(agent.encode, agent.latent), device)(1)
        return seconds

    return measure


def _forward(agent: Agent[Any], replay: Replay, view_size: int) -> Callable[[], object]:
    """The encoder alone, on inputs that lie ready: K crops of as many observations as are converted at a time."""
    encoder = agent.online.encoder
    frames = replay.sample(CHUNK).now[..., :view_size, :view_size]
    inputs = encoder.inputs(frames.repeat_interleave(agent.latent.shape[0], 0))

    def call() -> None:
        with torch.no_grad():
            encoder.encode(inputs)

    return call


# Whole training steps --------------------------------------------------------------------------------------------


def _loop(events: CountingEvents) -> Callable[[int], float]:
    """`train` itself, with real events: acting, environment, replay, update, records."""
    run = events.run
    return lambda steps: _train(run, events, steps)


def _overhead(events: CountingEvents) -> Callable[[int], float]:
    """The same, less the time inside `agent.update`, `agent.decide` and the environment: all that is the loop's own."""
    run = events.run

    def measure(steps: int) -> float:
        others = (run.agent, "update"), (run.agent, "decide"), *((run.environment, name) for name in ENVIRONMENT)
        with watched(*others, device=run.agent.device) as inside:
            return _train(run, events, steps) - inside()

    return measure


def _train(run: TrainingState, events: CountingEvents, steps: int) -> float:
    events.steps_left, events.stop.requested = steps, False
    checkpointer = Checkpointer(run, events.folder, events)
    device = run.agent.device
    with events.stop:
        synchronize(device)
        start = time.perf_counter()
        train(run, events, checkpointer, events.stop)
        synchronize(device)
        seconds = time.perf_counter() - start
    if events.steps_left > 0:  # Ctrl-C, which the stop signal takes for itself
        raise KeyboardInterrupt
    return seconds


@contextmanager
def watched(*methods: tuple[object, str], device: torch.device) -> Iterator[Callable[[], float]]:
    """Inside, calls of these objects' methods are timed; gives a function that says the seconds so far."""
    total = 0.0

    def watch(owner: object, name: str) -> None:
        method = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal total
            synchronize(device)
            start = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                synchronize(device)
                total += time.perf_counter() - start

        setattr(owner, name, call)

    with ExitStack() as undo:
        for owner, name in methods:
            undo.callback(
                *((setattr, owner, name, vars(owner)[name]) if name in vars(owner) else (delattr, owner, name))
            )
            watch(owner, name)
        yield lambda: total
