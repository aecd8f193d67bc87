"""Learning curves from run folders: score over steps, FLOPs or seconds.

Runs that differ in nothing but the seed make one curve, their mean, with a band of one standard deviation
over seeds. A single run has the spread of its evaluation episodes as its band, and its training episodes as
dots if it is alone in the picture.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from seer.errors import SettingError
from seer.reporting.curves import COLUMNS, Group, Run, XAxis, curve, freezes, group_runs, why_frozen
from seer.reporting.files import refuse_other_formats, write_picture
from seer.reporting.folders import read_folders

# Okabe and Ito's colours, which colour-blind readers tell apart; markers, also as text, for readers without colour.
LOOKS = (
    ("#0072B2", "o", "●"), ("#D55E00", "s", "■"), ("#009E73", "^", "▲"), ("#CC79A7", "D", "◆"), ("#E69F00", "v", "▼"),
    ("#56B4E9", "P", "✚"), ("#000000", "X", "✖"), ("#777777", "*", "★"),
)  # fmt: skip
AXIS_LABELS: dict[XAxis, str] = {
    "steps": "training steps (agent decisions)",
    "flops": "FLOPs (multiply-adds)",
    "seconds": "wall time (seconds)",
}
GREY = "#666666"
PANEL_INCHES = (5.6, 3.3)
STYLE: dict[Any, Any] = {
    "font.size": 11, "axes.titlesize": 12, "legend.fontsize": 10, "savefig.dpi": 200, "svg.fonttype": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "lines.linewidth": 2.0, "lines.markersize": 5,
}  # fmt: skip


def plot_runs(folders: Sequence[Path], *, x: XAxis, out: Path, per_seed: bool = False) -> Path:
    """Draw the learning curves of the runs in `folders`, write them to `out` (.png or .svg), return `out`.

    A folder of a sweep or an exhibit means its finished runs; it is printed why others aren't drawn. `per_seed` draws
    every seed's own curve too. SettingError where a folder holds no run or no evaluation, two runs have the same
    settings and seed, or `out` can't be written.
    """
    if not folders:
        raise SettingError("no run to plot: give one folder or more, seer plot DIR...")
    runs, missing = read_folders(folders)
    if not runs:
        raise SettingError(f"no run to plot: none of the {len(missing)} runs in {folders[0]} has finished")
    for name, why in missing.items():
        print(f"not drawn: {name}: {why}")
    return plot_groups(group_runs(runs), x=x, out=out, per_seed=per_seed)


def plot_groups(groups: Sequence[Group], *, x: XAxis, out: Path, per_seed: bool = False) -> Path:
    """Do `plot_runs` with runs that were read and grouped before."""
    refuse_other_formats(out)
    with rc_context(STYLE):
        write_picture(draw_groups(groups, x=x, per_seed=per_seed), out)
    return out


def draw_groups(groups: Sequence[Group], *, x: XAxis, per_seed: bool = False) -> Figure:
    """Draw the figure of `plot_runs`: a panel per environment, a curve per group, one legend below."""
    labels = list(dict.fromkeys(group.label for group in groups))
    environments = list(dict.fromkeys(group.environment for group in groups))
    num_columns = min(len(environments), 4)
    num_rows = -(-len(environments) // num_columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    for place, environment in enumerate(environments, start=1):
        axes = figure.add_subplot(num_rows, num_columns, place)
        for group in groups:
            if group.environment == environment:
                draw_group(axes, group, style=labels.index(group.label), x=x, per_seed=per_seed)
        if len(groups) == len(groups[0].runs) == 1:
            draw_episodes(axes, groups[0].runs[0], x=x)
        finish_panel(axes, environment, x=x)
    add_legend(figure, groups)
    return figure


# Drawing ---------------------------------------------------------------------------------------------------


def look(style: int) -> tuple[str, str, str]:
    """Return the colour, the marker and the symbol of the curves of this number."""
    return LOOKS[style % len(LOOKS)]


def draw_line(
    axes: Axes, x: np.ndarray, y: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], *, style: int, label: str, gid: str
) -> None:
    """Draw a curve [E] with a band between its bounds."""
    colour, marker, _ = look(style)
    axes.fill_between(x, *bounds, color=colour, alpha=0.2, lw=0, gid=f"band-{style}")
    axes.plot(x, y, color=colour, marker=marker, label=label, zorder=3, gid=f"{gid}-{style}")


def draw_group(axes: Axes, group: Group, *, style: int, x: XAxis, per_seed: bool = False) -> None:
    """Draw the curve of a group with its band, and a dashed line wherever its encoder was frozen."""
    colour, _, _ = look(style)
    scores = curve(group, x)
    for run in group.runs if per_seed and len(group.runs) > 1 else ():
        own = curve(Group(group.environment, group.label, [run]), x)
        axes.plot(own.x, own.mean, color=colour, linewidth=0.8, alpha=0.6, zorder=2)
    bounds = scores.mean - scores.std, scores.mean + scores.std
    draw_line(axes, scores.x, scores.mean, bounds, style=style, label=group.label, gid="line")
    moments = freezes(group, x)
    width = 1.4 if len(moments) == 1 else 0.9
    for number, moment in enumerate(moments):
        axes.axvline(moment.x, color=colour, ls="--", lw=width, zorder=2, gid=f"freeze-{style}-{number}")
    if axes.texts:  # one label for all lines: their colours tell whose they are
        return
    frozen, why = sum(len(moment.runs) for moment in moments), why_frozen(group.runs[0])
    alone = len(group.runs) == 1 and why
    style_of_text: Any = {"color": colour, "fontsize": 9, "va": "bottom"}
    if moments:
        several = "freeze" if frozen == len(group.runs) else f"freeze ({frozen} of {len(group.runs)} seeds)"
        above = axes.get_xaxis_transform()  # x in data, y as a fraction of the panel
        name = f"freeze: {why}" if alone else several
        axes.text(moments[0].x, 1.015, name, transform=above, ha="center", **style_of_text)
    elif alone:
        axes.text(1, 1.015, f"not frozen: {why}", transform=axes.transAxes, ha="right", **style_of_text)


def draw_episodes(axes: Axes, run: Run, *, x: XAxis) -> None:
    """Draw the returns of training episodes as faint dots."""
    points = [(episode[COLUMNS[x]], episode["episode_return"]) for episode in run.of_kind("episode")]
    if points:
        axes.plot(
            *zip(*points, strict=True), linestyle="", marker=".", markersize=4, markeredgewidth=0, color=GREY,
            alpha=0.35, zorder=1, rasterized=True, label="training episodes",
        )  # fmt: skip


def finish_panel(axes: Axes, environment: str, *, x: XAxis) -> None:
    """Set title, axes with units, readable numbers."""
    axes.set_title(environment, loc="left", pad=16)
    axes.set_xlim(left=0)
    exponent = 3 * (math.floor(math.log10(max(axes.get_xlim()[1], 1))) // 3) if x == "flops" else 0
    axes.set_xlabel(f"FLOPs ($10^{{{exponent}}}$ multiply-adds)" if x == "flops" else AXIS_LABELS[x])
    axes.set_ylabel("score per episode")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 10**exponent:,.10g}")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def add_legend(figure: Figure, groups: Sequence[Group]) -> None:
    """Add one legend below all panels, each label once, in room of its own; its last entry explains the bands."""
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    entries[f"± one standard deviation over {band(groups)}"] = Patch(color=GREY, alpha=0.3, linewidth=0)
    longest = int((figure.get_figwidth() - 0.7) / 0.07)  # characters
    names = [textwrap.fill(name, longest) for name in entries]
    entry_inches = 0.7 + 0.07 * min(longest, max(map(len, entries)))
    num_columns = max(1, int(figure.get_figwidth() / entry_inches))
    num_lines = -(-sum(name.count("\n") + 1 for name in names) // num_columns)
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.23 * num_lines)
    figure.legend(list(entries.values()), names, loc="outside lower center", frameon=False, ncols=num_columns)


def band(groups: Sequence[Group]) -> str:
    """Say over how many seeds, or over which episodes, the bands are a standard deviation."""
    seeds = {len(group.runs) for group in groups}
    if seeds == {1}:
        return "evaluation episodes"
    over = f"{'-'.join(map(str, sorted(seeds - {1})))} seeds"
    return f"{over}, or evaluation episodes of a single one" if 1 in seeds else over
