"""Draw the method: until the freeze and after it, in the same memory.

python docs/figures/method.py    # writes method.svg beside this file
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

FRAME, LATENT = 7056, 2304
"""Bytes of a step of Rainbow on Atari: one 84 x 84 frame, 576 float32 latents (`seer memory --env ALE/Pong-v5`)."""

BLUE, LIGHT, ORANGE, PALE, INK, GREY = "#2f6690", "#d9e6ef", "#d1751e", "#f7e3d0", "#1f2933", "#697586"
BLOCK_LEFT, BLOCK_WIDTH, NUM_FRAMES = 2.35, 3.3, 9


def box(axes: Axes, left: float, middle: float, width: float, text: str, *, fill: str, edge: str) -> None:
    """Draw a rounded box of height 0.8 with text in it."""
    shape = FancyBboxPatch(
        (left, middle - 0.4),
        width,
        0.8,
        boxstyle="round,pad=0,rounding_size=0.1",
        facecolor=fill,
        edgecolor=edge,
        lw=1.5,
    )
    axes.add_patch(shape)
    axes.text(left + width / 2, middle, text, ha="center", va="center", fontsize=10.5, color=INK, linespacing=1.35)


def arrow(axes: Axes, start: float, end: float, height: float, *, colour: str = INK) -> None:
    """Draw an arrow along a row; it points from `start` to `end`."""
    tip = FancyArrowPatch(
        (start, height), (end, height), arrowstyle="-|>", mutation_scale=13, color=colour, lw=1.6, shrinkA=0, shrinkB=0
    )
    axes.add_patch(tip)


def block(axes: Axes, left: float, middle: float, step_bytes: int, *, fill: str, edge: str) -> int:
    """Draw the replay's one block of memory, cut into steps of this size; return how many fit."""
    count = NUM_FRAMES * FRAME // step_bytes
    width = BLOCK_WIDTH * step_bytes / (NUM_FRAMES * FRAME)
    for number in range(count):
        axes.add_patch(
            Rectangle((left + number * width, middle - 0.4), width, 0.8, facecolor=fill, edgecolor=edge, lw=0.8)
        )
    axes.add_patch(Rectangle((left, middle - 0.4), BLOCK_WIDTH, 0.8, facecolor="none", edgecolor=INK, lw=1.8))
    return count


def draw() -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(10, 3.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(0, 3.9))
    axes.axis("off")
    learns, frozen = {"fill": PALE, "edge": ORANGE}, {"fill": LIGHT, "edge": BLUE}
    plain = {"fill": "white", "edge": GREY}

    axes.text(0.15, 3.62, "until the freeze", fontsize=12, weight="bold", color=INK, va="center")
    axes.text(
        1.82,
        3.62,
        "every update encodes its batch of images again, forwards and backwards",
        fontsize=10.5,
        color=GREY,
        va="center",
    )
    box(axes, 0.15, 2.85, 1.3, "environment", **plain)
    arrow(axes, 1.45, BLOCK_LEFT, 2.85)
    block(axes, BLOCK_LEFT, 2.85, FRAME, fill="white", edge=GREY)
    axes.text(BLOCK_LEFT, 2.27, f"replay: images, {FRAME:,} bytes a step", fontsize=10, color=GREY, va="center")
    arrow(axes, 5.65, 6.2, 2.85)
    box(axes, 6.2, 2.85, 1.5, "convolutions\nlearn", **learns)
    arrow(axes, 7.7, 8.25, 2.85)
    box(axes, 8.25, 2.85, 1.6, "heads learn", **learns)

    axes.plot((0.15, 9.85), (1.95, 1.95), color=BLUE, lw=1, ls=(0, (4, 3)))
    axes.text(9.85, 2.08, "freeze, once", fontsize=9.5, color=BLUE, ha="right", va="center")

    axes.text(0.15, 1.63, "after it", fontsize=12, weight="bold", color=INK, va="center")
    axes.text(
        1.82,
        1.63,
        "each observation is encoded once; updates run the heads alone",
        fontsize=10.5,
        color=GREY,
        va="center",
    )
    box(axes, 0.15, 0.86, 1.3, "environment", **plain)
    arrow(axes, 1.45, 2.0, 0.86)
    box(axes, 2.0, 0.86, 1.5, "convolutions\nfrozen", **frozen)
    arrow(axes, 3.5, 4.05, 0.86)
    block(axes, 4.05, 0.86, LATENT, fill=LIGHT, edge=BLUE)
    axes.text(4.05, 0.28, f"the same memory: latents, {LATENT:,} bytes a step", fontsize=10, color=BLUE, va="center")
    arrow(axes, 7.35, 8.25, 0.86)
    box(axes, 8.25, 0.86, 1.6, "heads learn", **learns)
    return figure


def main() -> None:
    """Write the picture."""
    mpl.rcParams.update({"svg.hashsalt": "seer", "font.family": "DejaVu Sans"})
    draw().savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
