"""How early each layer settles: its similarity with itself some steps later (SEER, section 5.4, figure 8b).

For convolutions every position of every image is a sample. All similarities are on the same observations.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from seer.agents.activations import Activations, as_samples, encoder_activations, head_activations
from seer.agents.agent import Agent
from seer.analysis.files import spread
from seer.similarity import Covariances, linear_cka, num_directions, svcca
from seer.training.snapshots import Weights, load_weights

CHUNK = 64
ENOUGH = 10
"""Samples per correlated direction from which chance correlations are small."""

Load = Callable[[int], Weights]


@dataclass(frozen=True)
class Layer:
    """One layer's similarities with itself, one per pair of steps; `directions` are the most that SVCCA correlated."""

    name: str
    svcca: list[float]
    cka: list[float]
    samples: int
    directions: int

    @property
    def trustworthy(self) -> bool:
        """Whether there were samples enough for its SVCCA to say something."""
        return self.samples >= ENOUGH * self.directions


@dataclass(frozen=True)
class Convergence:
    """Similarities of all layers, from the pixels up, between each of `steps` and `gap` steps later."""

    steps: list[int]
    gap: int
    layers: list[Layer]

    def order(self) -> list[str]:
        """Layers, the most settled first: by their mean SVCCA."""
        return [layer.name for layer in sorted(self.layers, key=lambda layer: -_mean(layer.svcca))]

    def verdict(self) -> str:
        """One line: whether the encoder's layers settled from the pixels up."""
        means = [_mean(layer.svcca) for layer in self.layers if layer.name.startswith("encoder")]
        rising = all(lower >= upper for lower, upper in itertools.pairwise(means))
        found = "settle bottom layers first" if rising else "don't settle bottom layers first"
        return f"the encoder's layers {found}; most settled first: {', '.join(self.order())}"

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file; what has no similarity is None there, as JSON has no nan."""
        layers = [
            vars(layer) | {"trustworthy": layer.trustworthy}
            | {name: [None if math.isnan(each) else each for each in getattr(layer, name)] for name in ("svcca", "cka")}
            for layer in self.layers
        ]  # fmt: skip
        return {"steps": self.steps, "gap": self.gap, "layers": layers, "verdict": self.verdict()}


def converge(
    agents: tuple[Agent[Any], Agent[Any]],
    observations: np.ndarray,
    steps: Sequence[int],
    load: Load,
    *,
    gap: int,
    progress: Callable[[int, int], None] | None = None,
) -> Convergence:
    """Similarity of every layer at each of `steps` with itself `gap` later, on observations [B, S, C, H, W] uint8.

    `load` gives the weights of a step; the two agents are only used to run them.
    """
    found: dict[str, list[Covariances]] = {}
    for number, step in enumerate(steps):
        for name, covariances in _covary(agents, observations, (load(step), load(step + gap))).items():
            found.setdefault(name, []).append(covariances)
        if progress is not None:
            progress(number + 1, len(steps))
    layers = [
        Layer(
            name,
            svcca=[svcca(each) for each in pairs],
            cka=[linear_cka(each) for each in pairs],
            samples=pairs[0].count,
            directions=max(num_directions(each) for each in pairs),
        )
        for name, pairs in found.items()
    ]
    return Convergence(list(steps), gap, layers)


def pairs_of(steps: Sequence[int], gap: int | None) -> tuple[list[int], int]:
    """The steps that have a snapshot `gap` later, and the gap: where None is given, the usual one between snapshots."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(steps)]
    gap = gap or (statistics.mode(gaps) if gaps else 0)
    return [step for step in steps if gap and step + gap in set(steps)], gap


def convergence_table(convergence: Convergence) -> Table:
    """SVCCA by layer at up to five steps, and the means of SVCCA and CKA over all."""
    places = spread(range(len(convergence.steps)), 5)
    title = f"SVCCA of each layer with itself {convergence.gap:,} steps later, from the pixels up"
    table = Table(title=title, title_justify="left")
    table.add_column("layer", no_wrap=True)
    for name in (*(f"{convergence.steps[place]:,}" for place in places), "mean", "mean CKA"):
        table.add_column(name, justify="right")
    for layer in convergence.layers:
        numbers = [*(layer.svcca[place] for place in places), _mean(layer.svcca), _mean(layer.cka)]
        name = layer.name if layer.trustworthy else f"{layer.name} *"
        table.add_row(name, *(f"{number:.3f}" for number in numbers))
    if not all(layer.trustworthy for layer in convergence.layers):
        table.caption = f"* fewer than {ENOUGH} samples per direction: SVCCA too high; give more --observations"
    return table


def draw(convergence: Convergence, title: str) -> Figure:
    """SVCCA and CKA of every layer over steps, side by side."""
    style = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with rc_context(style | {"grid.alpha": 0.25, "savefig.dpi": 200}):  # type: ignore[arg-type]
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        ends = np.array(convergence.steps) + convergence.gap
        shades = colours(len(convergence.layers))
        for axes, measure in zip(panels, ("svcca", "cka"), strict=True):
            for layer, colour in zip(convergence.layers, shades, strict=True):
                axes.plot(ends, getattr(layer, measure), color=colour, marker="o", markersize=4, label=layer.name)
            axes.set_title({"svcca": "SVCCA", "cka": "linear CKA"}[measure], loc="left")
            axes.set_xlabel("training steps (agent decisions)")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        panels[0].set_ylabel(f"similarity with {convergence.gap:,} steps before")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", frameon=False, title="from the pixels up")
    return figure


def colours(count: int) -> list[Any]:
    """From dark for the pixels to light for the outputs, in an order that greys keep."""
    import matplotlib

    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count)))


def _covary(
    agents: tuple[Agent[Any], Agent[Any]], observations: np.ndarray, weights: tuple[Weights, Weights]
) -> dict[str, Covariances]:
    """Sums over all observations, by layer."""
    found: dict[str, Covariances] = {}
    sides = [_activations(agent, observations, own) for agent, own in zip(agents, weights, strict=True)]
    for left, right in zip(*sides, strict=True):  # chunk by chunk: all activations at once wouldn't fit
        for name in left:
            found.setdefault(name, Covariances()).add(as_samples(left[name]), as_samples(right[name]))
    return found


def _activations(agent: Agent[Any], observations: np.ndarray, weights: Weights) -> Iterator[Activations]:
    """By chunk of observations, what every layer says with these weights."""
    load_weights(agent, weights)
    for start in range(0, len(observations), CHUNK):
        frames = torch.from_numpy(observations[start : start + CHUNK]).to(agent.device)
        encoder = agent.online.encoder
        with torch.no_grad():
            latents = encoder.encode(encoder.pixels(agent.view(frames)))
        yield encoder_activations(agent, frames) | head_activations(agent, latents)


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
