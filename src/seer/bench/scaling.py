"""The second page: how cost grows with work. Stored rows, batch size, crops, resolution.

On frames of noise: what is in a picture changes no cost, and any size and resolution can be had.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from seer.bench.subject import fill, kind, period, record, stand_in
from seer.bench.timing import QUICK, Plan, Probe, Progress, interleave, no_progress, timed
from seer.config import Config
from seer.core.phase import Phase
from seer.reporting.files import write_picture
from seer.reporting.plots import COLOURS, STYLE
from seer.training.build import build, free_on, pick_device
from seer.training.loop import learn
from seer.training.state import TrainingState

Curves = dict[str, list[tuple[int, float]]]

STORED = (10_000, 100_000, 1_000_000)
BATCHES = {"atari": (8, 32, 128, 512), "control": (32, 128, 512)}
CROPS = (1, 2, 4, 8)
SIDES = {"atari": (42, 63, 84, 126), "control": (42, 63, 84)}  # pixels that the encoder sees
FEW_ROWS, RECORDED = 700, 64
MOST_ROUNDS = 7  # curves need less precision than rows
MOST_MEMORY = 0.5  # of what is free now

QUANTITIES = {
    "rows": ("sampling a batch", "stored observations"),
    "batch": ("an update", "batch size"),
    "pixels": ("an update", "side of the image that the encoder sees, pixels"),
    "crops": ("acting and encoding after the freeze", "crops per observation, K"),
}
"""Title and axis of each panel."""


@dataclass(frozen=True)
class Point:
    """One point of a curve `<agent>/<what> over <quantity>`; its `call` is what is timed."""

    curve: str
    x: int
    call: Callable[[], object]
    period: int = 1


def measure_scaling(config: Config, plan: Plan, progress: Progress) -> Curves:
    """The curves of one agent, points (x, milliseconds); numbers of rows that take too much memory are left out."""
    few = 2 if plan.rounds <= QUICK.rounds else None
    plan = dataclasses.replace(plan, rounds=min(plan.rounds, MOST_ROUNDS))
    batches = [(size, _with_batch(config, size)) for size in BATCHES[kind(config)][:few]]
    sides = [(side, _with_side(config, side)) for side in SIDES[kind(config)][:few]]
    groups: list[Callable[[], list[Point]]] = [
        lambda: _sampling(config, Phase.FRAMES, STORED[: 1 if few else None], progress),
        lambda: _sampling(config, Phase.LATENTS, STORED[: 1 if few else None], progress),
        lambda: _updates("batch", batches),
        lambda: _updates("pixels", sides),
    ]
    if config.image.crop_size is not None:
        groups.append(lambda: _encodings([(crops, _with_crops(config, crops)) for crops in CROPS[:few]]))
    curves: Curves = {}
    for make in groups:  # one at a time: what a group holds is gone before the next is made
        for name, x, milliseconds in _measure(make(), config, plan, progress):
            curves.setdefault(name, []).append((x, milliseconds))
    return curves


def _measure(points: list[Point], config: Config, plan: Plan, progress: Progress) -> list[tuple[str, int, float]]:
    """All points interleaved."""
    device = pick_device(config.device)
    probes = [Probe(f"{point.curve} {point.x:,}", timed(point.call, device), point.period) for point in points]
    timings = interleave(probes, plan, progress)
    return [
        (point.curve, point.x, timings[probe.name].milliseconds) for point, probe in zip(points, probes, strict=True)
    ]


# Points ----------------------------------------------------------------------------------------------------------


def _sampling(config: Config, phase: Phase, stored: Sequence[int], progress: Progress) -> list[Point]:
    row_bytes = _row_bytes(config, phase)
    room = MOST_MEMORY * free_on(pick_device(config.device))
    points = []
    for rows in stored:
        room -= rows * row_bytes
        if room < 0:
            break
        run = _filled(_with_memory(config, rows * row_bytes), phase, rows, progress)
        exponent = config.replay.importance_exponent
        sample = functools.partial(run.replay.sample, config.learning.batch_size, exponent)
        points.append(Point(f"{config.agent}/sample/{phase} over rows", rows, sample))
    return points


def _updates(quantity: str, configs: Sequence[tuple[int, Config]]) -> list[Point]:
    return [
        Point(
            f"{config.agent}/update/{phase} over {quantity}",
            x,
            functools.partial(learn, _filled(config, phase, FEW_ROWS)),
            period(config),
        )
        for phase in (Phase.FRAMES, Phase.LATENTS)
        for x, config in configs
    ]


def _encodings(configs: Sequence[tuple[int, Config]]) -> list[Point]:
    points = []
    for crops, config in configs:
        run = _filled(config, Phase.LATENTS, FEW_ROWS)
        decide = functools.partial(run.agent.decide, run.environment.observe())
        points.append(Point(f"{config.agent}/act/latents over crops", crops, decide))
    return points


def _filled(config: Config, phase: Phase, rows: int, progress: Progress = no_progress) -> TrainingState:
    """A run in `phase` on noise, whose replay holds `rows` observations."""
    run = build(config, stand_in(config))
    run.step = run.schedule.first_update
    run.agent.decisions = config.sac.random_steps
    recording = record(stand_in(config), RECORDED, no_progress)
    fill(run.replay, recording, rows if phase is Phase.FRAMES else FEW_ROWS, progress)
    if phase is Phase.LATENTS:
        some = run.replay.sample(RECORDED).now
        run.agent.freeze_and_transcode(run.replay)
        latents = run.agent.encode(some)
        encoded = [dataclasses.replace(step, frame=row) for step, row in zip(recording, latents, strict=True)]
        fill(run.replay, encoded, rows - run.replay.size, progress)
    return run


def _row_bytes(config: Config, phase: Phase) -> int:
    agent = build(_with_memory(config, 2**24), stand_in(config))
    return agent.replay.row.num_bytes if phase is Phase.FRAMES else agent.agent.latent.num_bytes


def _with_memory(config: Config, num_bytes: int) -> Config:
    replay = dataclasses.replace(config.replay, capacity=None, memory=f"{num_bytes}B")
    return dataclasses.replace(config, replay=replay)


def _with_batch(config: Config, size: int) -> Config:
    return _small(dataclasses.replace(config, learning=dataclasses.replace(config.learning, batch_size=size)))


def _with_side(config: Config, side: int) -> Config:
    """The encoder sees `side` pixels; where it sees crops, the image keeps its margin's share."""
    image = config.image
    if image.crop_size is None:
        image = dataclasses.replace(image, size=side)
    else:
        image = dataclasses.replace(image, size=round(side * image.size / image.crop_size), crop_size=side)
    return _small(dataclasses.replace(config, image=image))


def _with_crops(config: Config, crops: int) -> Config:
    return _small(dataclasses.replace(config, freeze=dataclasses.replace(config.freeze, num_crops=crops)))


def _small(config: Config) -> Config:
    replay = dataclasses.replace(config.replay, capacity=2 * FEW_ROWS)
    return dataclasses.replace(config, replay=replay)


# The figure ------------------------------------------------------------------------------------------------------


def draw_scaling(curves: Curves, out: Path) -> None:
    """One panel per quantity: time over work, both logarithmic; a colour per agent, dashes after the freeze."""
    agents = list(dict.fromkeys(name.split("/")[0] for name in curves))
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, curve in curves.items():
        what, _, quantity = name.partition(" over ")
        panels.setdefault(quantity, {})[what] = curve
    num_rows = -(-len(panels) // 2)
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 0.6 + 3.7 * num_rows), layout="constrained")
        entries = {}
        for place, (quantity, curves_here) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(num_rows, 2, place)
            for what, curve in curves_here.items():
                agent, phase = what.split("/")[0], what.rpartition("/")[2]
                colour = COLOURS[agents.index(agent) % len(COLOURS)]
                entries[f"{agent}, {phase}"] = _draw(axes, curve, colour=colour, after=phase == Phase.LATENTS)
            _finish(axes, quantity, [point for curve in curves_here.values() for point in curve])
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", frameon=False, ncols=4)
        write_picture(figure, out, flag="--scaling")


def _draw(axes: Axes, curve: Sequence[tuple[int, float]], *, colour: str, after: bool) -> Line2D:
    (line,) = axes.plot(*zip(*curve, strict=True), "--" if after else "-", marker="s" if after else "o", color=colour)
    return line


def _finish(axes: Axes, quantity: str, points: Sequence[tuple[int, float]]) -> None:
    title, label = QUANTITIES[quantity]
    axes.set_title(title, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes, milliseconds = (sorted(set(values)) for values in zip(*points, strict=True))
    axes.set_ylim(milliseconds[0] / 2, milliseconds[-1] * 2)  # a flat curve shall look flat
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_xlabel(label)
    axes.set_ylabel("milliseconds")
