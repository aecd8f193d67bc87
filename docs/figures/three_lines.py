"""Draw memory and updates per second of Stable-Baselines3, without SEER and with it.

python docs/figures/three_lines.py    # of results/stable-baselines3/runs.csv; writes three_lines.svg beside this file
"""

import csv
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

RUNS = Path(__file__).parents[2] / "results/stable-baselines3/runs.csv"
PAIRS = {
    "DQN, Road Runner": ("dqn-plain-quiet", "dqn-seer-quiet"),
    "SAC, cartpole-swingup": ("sac-plain-quiet", "sac-seer-quiet"),
}
COLOURS, GREY = ("#b8c2cc", "#2f6690"), "#697586"


def pair_of_bars(axes: Axes, values: tuple[float, float], title: str, unit: str) -> None:
    """Draw one quantity without SEER and, below it, with it."""
    axes.barh((1, 0), values, color=COLOURS, height=0.72)
    for place, value in zip((1, 0), values, strict=True):
        axes.text(value, place, f" {value:,.0f} {unit}", va="center", fontsize=10.5)
    axes.set(xlim=(0, 1.5 * max(values)), yticks=(1, 0), yticklabels=("without", "three lines"), xticks=())
    axes.set_title(title, loc="left", fontsize=10.5, color=GREY)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw() -> Figure:
    """Return the picture."""
    with RUNS.open(newline="") as file:
        runs = {row["run"]: row for row in csv.DictReader(file)}
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    panels = figure.subplots(2, 2, squeeze=False)
    for axes, (name, pair) in zip(panels, PAIRS.items(), strict=True):
        before, after = (
            {key: float(runs[run][key]) for key in ("resident_bytes", "updates_per_second_after")} for run in pair
        )
        memory = before["resident_bytes"] / 1e6, after["resident_bytes"] / 1e6
        speed = before["updates_per_second_after"], after["updates_per_second_after"]
        pair_of_bars(axes[0], memory, f"{name}: memory of the process", "MB")
        pair_of_bars(axes[1], speed, f"{name}: updates per second once frozen", "")
    return figure


def main() -> None:
    """Write the picture."""
    mpl.rcParams.update({"svg.hashsalt": "seer", "font.family": "DejaVu Sans"})
    draw().savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
