"""Learning curves from run folders: score over steps, FLOPs or seconds.

Runs that differ in nothing but the seed make one curve, their mean, with a band of one standard deviation
over seeds. A single run has the spread of its evaluation episodes as its band, and its training episodes as
dots if it is alone in the picture.
"""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from seer.errors import SettingError
from seer.training.run import METRICS_FILE, Record, RunFolder, flatten, is_number, read_metrics

XAxis = Literal["steps", "flops", "seconds"]

COLUMNS: dict[XAxis, str] = {"steps": "step", "flops": "flops", "seconds": "wall_seconds"}
DRAWN = {"eval": (*COLUMNS.values(), "mean", "std"), "episode": (*COLUMNS.values(), "episode_return")}
AGENT_NAMES = {"rainbow": "Rainbow", "dqn": "DQN", "sac": "SAC", "curl": "CURL"}
# Settings that don't set curves apart: the picture says them elsewhere, or learning doesn't depend on them.
UNCOMPARED = {
    "env", "agent", "freeze.at", "seed", "out", "device", "log_every", "checkpoint_every", "snapshot_every",
    "env_timeout",
}  # fmt: skip

# Okabe and Ito's colours, which colour-blind readers tell apart; markers for readers without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#666666"
PANEL_INCHES = (5.6, 3.3)
STYLE: dict[Any, Any] = {
    "font.size": 11, "axes.titlesize": 12, "legend.fontsize": 10, "savefig.dpi": 200, "svg.fonttype": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "lines.linewidth": 2.0, "lines.markersize": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a picture needs of one run folder."""

    folder: Path
    settings: Mapping[str, Any]  # by dotted name
    records: Sequence[Record]

    def of_kind(self, kind: str) -> list[Record]:
        """Its records of one kind, oldest first."""
        return [record for record in self.records if record["kind"] == kind]


@dataclass(frozen=True)
class Arm:
    """One curve: the runs of one setting in one environment, a seed each."""

    environment: str
    label: str
    runs: Sequence[Run]


@dataclass(frozen=True)
class Curve:
    """Scores of an arm at its E evaluations: x [E], mean [E] and standard deviation [E]."""

    x: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def plot_runs(folders: Sequence[Path], *, x: XAxis, out: Path, per_seed: bool = False) -> Path:
    """Draw the learning curves of the runs in `folders`, write them to `out` (.png or .svg), return `out`.

    `per_seed` draws every seed's own curve too.

    Raises:
        SettingError: no folder is given, one is no run or holds no evaluation, two runs have the same settings and
            seed, or `out` can't be written.
    """
    if not folders:
        raise SettingError("no run to plot: give one folder or more, seer plot DIR...")
    return plot_arms(read_arms(folders), x=x, out=out, per_seed=per_seed)


def plot_arms(arms: Sequence[Arm], *, x: XAxis, out: Path, per_seed: bool = False) -> Path:
    """`plot_runs` of runs that were read and grouped before."""
    if out.suffix not in (".png", ".svg"):
        raise SettingError(f"--out {out} is no picture: let it end in .png or .svg")
    with rc_context(STYLE):
        figure = draw_arms(arms, x=x, per_seed=per_seed)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(out)
        except OSError as error:
            raise SettingError(f"--out {out} can't be written ({error.strerror}): choose another file") from error
    return out


def draw_arms(arms: Sequence[Arm], *, x: XAxis, per_seed: bool = False) -> Figure:
    """The figure of `plot_runs`: a panel per environment, a curve per arm, one legend below.

    Raises:
        SettingError: seeds of an arm were never evaluated at the same step.
    """
    labels = list(dict.fromkeys(arm.label for arm in arms))
    environments = list(dict.fromkeys(arm.environment for arm in arms))
    num_columns = min(len(environments), 4)
    num_rows = -(-len(environments) // num_columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    panels = [figure.add_subplot(num_rows, num_columns, place + 1) for place in range(len(environments))]
    for axes, environment in zip(panels, environments, strict=True):
        for arm in arms:
            if arm.environment == environment:
                draw_arm(axes, arm, style=labels.index(arm.label), x=x, per_seed=per_seed)
        if len(arms) == len(arms[0].runs) == 1:
            draw_episodes(axes, arms[0].runs[0], x=x)
        finish_panel(axes, environment, x=x)
    add_legend(figure, panels, arms)
    return figure


# What is drawn ---------------------------------------------------------------------------------------------


def read_arms(folders: Sequence[Path]) -> list[Arm]:
    """The runs in these folders, grouped by what they are; a folder given twice counts once.

    Raises:
        SettingError: as `read_run` and `group`.
    """
    return group([read_run(folder) for folder in dict.fromkeys(folders)])


def read_run(folder: Path) -> Run:
    """The settings and records of one run folder.

    Raises:
        SettingError: it is no run, or holds no evaluation yet.
    """
    settings = dict(flatten(RunFolder.open(folder).config))
    missing = {"env", "agent", "seed", "freeze.at"} - settings.keys()
    if missing:
        raise SettingError(f"{folder}/config.json lacks {', '.join(sorted(missing))}: leave that run out")
    kinds = {"env": str, "agent": str, "seed": int, "freeze.at": str}
    wrong = [name for name, kind in kinds.items() if not isinstance(settings[name], kind)]
    if wrong or not (settings["freeze.at"] in ("never", "auto") or settings["freeze.at"].isdecimal()):
        raise SettingError(f"{folder}/config.json is damaged ({', '.join(wrong or ['freeze.at'])}): leave that run out")
    run = Run(folder, settings, read_metrics(folder))
    _refuse_gaps(run)
    if not run.of_kind("eval"):
        raise SettingError(f"{folder} holds no evaluation yet: leave it out, or let it train to --eval-every")
    return run


def _refuse_gaps(run: Run) -> None:
    """SettingError where a record lacks one of the figures that are drawn."""
    for kind, drawn in DRAWN.items():
        for record in run.of_kind(kind):
            lacks = [name for name in drawn if not is_number(record.get(name))]
            if lacks:
                raise SettingError(
                    f"{run.folder / METRICS_FILE} is damaged: an {kind!r} record lacks {', '.join(lacks)}"
                )


def group(runs: Sequence[Run]) -> list[Arm]:
    """Runs that differ in the seed alone, together. Arms of the same label add what sets them apart.

    Raises:
        SettingError: two runs have the same settings and the same seed.
    """
    named: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        named.setdefault((run.settings["env"], label(run.settings)), []).append(run)
    arms = []
    for (environment, name), members in named.items():
        differing = _differing(members)
        alternatives: dict[str, list[Run]] = {}
        for run in members:
            alternatives.setdefault(json.dumps([run.settings.get(each) for each in differing]), []).append(run)
        for same in alternatives.values():
            _refuse_twins(same)
            arms.append(Arm(environment, name + _difference(same[0], differing), same))
    return arms


def label(settings: Mapping[str, Any]) -> str:
    """What a reader calls these settings: agent, and when its encoder was frozen."""
    agent = AGENT_NAMES.get(settings["agent"], settings["agent"])
    at = settings["freeze.at"]
    if at == "never":
        return f"{agent}, never frozen"
    if at == "auto":
        return f"{agent} + SEER, automatic freeze"
    if at == "0":
        return f"{agent} + SEER, another run's encoder"
    return f"{agent} + SEER, freeze at {int(at):,}"


def curve(arm: Arm, x: XAxis) -> Curve:
    """Mean and sample standard deviation over seeds, at the steps at which all of them were evaluated; of a
    single run, over its evaluation episodes, as recorded.

    Raises:
        SettingError: the seeds have no evaluated step in common.
    """
    by_step = [{record["step"]: record for record in run.of_kind("eval")} for run in arm.runs]
    steps = sorted(set.intersection(*(set(records) for records in by_step)))
    if not steps:
        raise SettingError(f"the seeds of {arm.label!r} were never evaluated at the same step: plot them one by one")
    xs, means, stds = (
        np.array([[records[step][name] for step in steps] for records in by_step], dtype=float)
        for name in (COLUMNS[x], "mean", "std")
    )
    std = means.std(axis=0, ddof=1) if len(arm.runs) > 1 else stds[0]
    return Curve(xs.mean(axis=0), means.mean(axis=0), std)


def _differing(runs: Sequence[Run]) -> list[str]:
    """The settings that set these runs apart. One that a run of an earlier version doesn't name doesn't, by itself."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in UNCOMPARED)
    values = {name: {json.dumps(run.settings[name]) for run in runs if name in run.settings} for name in names}
    return [name for name in names if len(values[name]) > 1]


def _difference(run: Run, names: Sequence[str]) -> str:
    """What a run's settings of these names are, ready to follow a label."""
    values = {name.rpartition(".")[2].replace("_", " "): run.settings.get(name) for name in names}
    return "".join(f", {name} {value}" for name, value in values.items() if value is not None)


def _refuse_twins(runs: Sequence[Run]) -> None:
    seeds: dict[int, Run] = {}
    for run in runs:
        twin = seeds.setdefault(run.settings["seed"], run)
        if twin is not run:
            raise SettingError(f"{twin.folder} and {run.folder} have the same settings and seed: leave one out")


# Drawing ---------------------------------------------------------------------------------------------------


def draw_arm(axes: Axes, arm: Arm, *, style: int, x: XAxis, per_seed: bool = False) -> None:
    """The curve of an arm with its band, and a dashed line where its encoder was frozen (mean over seeds)."""
    colour, marker = COLOURS[style % len(COLOURS)], MARKERS[style % len(MARKERS)]
    scores = curve(arm, x)
    for run in arm.runs if per_seed and len(arm.runs) > 1 else ():
        own = curve(Arm(arm.environment, arm.label, [run]), x)
        axes.plot(own.x, own.mean, color=colour, linewidth=0.8, alpha=0.6, zorder=2)
    axes.fill_between(scores.x, scores.mean - scores.std, scores.mean + scores.std, color=colour, alpha=0.2, lw=0)
    axes.plot(scores.x, scores.mean, color=colour, marker=marker, label=arm.label, zorder=3)
    freezes = [record[COLUMNS[x]] for run in arm.runs for record in run.of_kind("freeze")]
    if freezes:
        moment = float(np.mean(freezes))
        axes.axvline(moment, color=colour, linestyle="--", linewidth=1.4, zorder=2)
        if not axes.texts:  # one label for all lines: their colours tell whose they are
            above = axes.get_xaxis_transform()  # x in data, y as a fraction of the panel
            name = freeze_name([record for run in arm.runs for record in run.of_kind("freeze")])
            axes.text(moment, 1.015, name, transform=above, color=colour, fontsize=9, ha="center", va="bottom")


def freeze_name(freezes: Sequence[Record]) -> str:
    """What stands at the line of a freeze: of a single automatic one, its reason too."""
    if len(freezes) == 1 and freezes[0].get("mode") == "auto":
        similarity = freezes[0]["similarity"]
        return f"freeze: {freezes[0]['reason']}" + ("" if similarity is None else f" (SVCCA {similarity:.3f})")
    return "freeze"


def draw_episodes(axes: Axes, run: Run, *, x: XAxis) -> None:
    """The returns of training episodes as faint dots."""
    episodes = run.of_kind("episode")
    if episodes:
        axes.plot(
            [episode[COLUMNS[x]] for episode in episodes],
            [episode["episode_return"] for episode in episodes],
            linestyle="",
            marker=".",
            markersize=4,
            markeredgewidth=0,
            color=GREY,
            alpha=0.35,
            zorder=1,
            rasterized=True,
            label="training episodes",
        )


def finish_panel(axes: Axes, environment: str, *, x: XAxis) -> None:
    """Title, axes with units, readable numbers."""
    axes.set_title(environment, loc="left", pad=16)
    axes.set_xlim(left=0)
    exponent = 0
    if x == "flops":
        exponent = 3 * (math.floor(math.log10(max(axes.get_xlim()[1], 1))) // 3)
    axes.set_xlabel({
        "steps": "training steps (agent decisions)",
        "flops": f"FLOPs ($10^{{{exponent}}}$ multiply-adds)",
        "seconds": "wall time (seconds)",
    }[x])  # fmt: skip
    axes.set_ylabel("score per episode")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 10**exponent:,.10g}")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def add_legend(figure: Figure, panels: Sequence[Axes], arms: Sequence[Arm]) -> None:
    """One legend below all panels, each label once, in room of its own; its last entry explains the bands."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    entries[f"± one standard deviation over {_spread(arms)}"] = Patch(color=GREY, alpha=0.3, linewidth=0)
    longest = int((figure.get_figwidth() - 0.7) / 0.07)  # characters
    names = [textwrap.fill(name, longest) for name in entries]
    entry_inches = 0.7 + 0.07 * min(longest, max(map(len, entries)))
    num_columns = max(1, int(figure.get_figwidth() / entry_inches))
    num_lines = -(-sum(name.count("\n") + 1 for name in names) // num_columns)
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.23 * num_lines)
    figure.legend(list(entries.values()), names, loc="outside lower center", frameon=False, ncols=num_columns)


def _spread(arms: Sequence[Arm]) -> str:
    """What the bands are a spread over."""
    seeds = {len(arm.runs) for arm in arms}
    several = sorted(seeds - {1})
    over = f"{'-'.join(map(str, several))} seeds"
    if 1 not in seeds:
        return over
    return f"{over}, or evaluation episodes of a single one" if several else "evaluation episodes"
