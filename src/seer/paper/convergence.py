"""How early each layer settles: its similarity with itself some steps later (SEER, section 5.4, figure 8b).

For convolutions every position of every image is a sample. All similarities are on the same observations.
"""

import copy
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.console import Console
from rich.table import Table

from seer.agents.activations import Activations, all_activations, frozen_layers
from seer.agents.agent import Agent
from seer.core.feature_stability import as_samples
from seer.core.similarity import Covariances, linear_cka, num_directions, svcca
from seer.errors import SettingError
from seer.reporting.files import new_picture, refuse_unusable, spread, weights_by_step, write, write_picture
from seer.runs.folder import RunFolder, plain, read_metrics
from seer.runs.snapshots import Weights, load_weights
from seer.runs.terminal import Terminal
from seer.training.load_run import load_player
from seer.training.observations import play

CHUNK = 64
ENOUGH = 10
"""Samples per correlated direction from which chance correlations are small."""

MEASURES = ("svcca", "cka")

Load = Callable[[int], Weights]


@dataclass(frozen=True)
class Layer:
    """One layer's similarities with itself, one per pair of steps; nan where it was frozen, or is constant.

    directions: the most that SVCCA correlated. freezes: whether it is one that the freeze freezes.
    """

    name: str
    svcca: list[float]
    cka: list[float]
    samples: int
    directions: int
    freezes: bool = False

    @property
    def trustworthy(self) -> bool:
        """Tell whether there were samples enough for its SVCCA to say something."""
        return self.samples >= ENOUGH * self.directions


@dataclass(frozen=True)
class Convergence:
    """Similarities of all layers, from the pixels up, between each of `steps` and `gap` steps later.

    frozen_at: the step of the freeze, if there was one.
    """

    steps: list[int]
    gap: int
    layers: list[Layer]
    frozen_at: int | None = None

    @property
    def title(self) -> str:
        """Return the title of its table."""
        return f"SVCCA of each layer with itself {self.gap:,} steps later, from the pixels up"

    def learns(self, layer: Layer) -> list[bool]:
        """Tell for each pair of steps whether the layer could change all the time between them."""
        return _learns(self.steps, self.gap, self.frozen_at if layer.freezes else None)

    def together(self) -> list[bool]:
        """Tell for each pair of steps whether every layer learnt in it, but for those that learnt in none."""
        learning = [learns for layer in self.layers if any(learns := self.learns(layer))]
        return [all(pair) for pair in zip(*learning, strict=True)]

    def compared(self) -> dict[str, float]:
        """Return mean SVCCA by layer, all over the same pairs (`together`); a layer that never learnt has none."""
        together = self.together()
        means = {layer.name: _mean(list(itertools.compress(layer.svcca, together))) for layer in self.layers}
        return {name: mean for name, mean in means.items() if not math.isnan(mean)}

    def verdict(self) -> str:
        """Say in a line whether the encoder's layers settled from the pixels up, and which layer settled most."""
        means = self.compared()
        encoder = [mean for name, mean in means.items() if name.startswith("encoder")]
        if not encoder:
            found = "no layer of the encoder learnt from one of these steps to the next: there is no order to state"
        elif len(encoder) == 1:
            found = "only one layer of the encoder learnt: there is no order to state"
        else:
            rising = all(lower >= upper for lower, upper in itertools.pairwise(encoder))
            found = f"the encoder's layers {'settle' if rising else 'do not settle'} bottom layers first"
        if means:
            found += f"; most settled first: {', '.join(sorted(means, key=lambda name: -means[name]))}"
        left_out = []
        if pairs := self.together().count(False):
            many = f"{pairs} of {len(self.steps)} pairs"
            left_out.append(f"{many}, which reach beyond the freeze at step {self.frozen_at:,}")
        if never := [layer.name for layer in self.layers if not any(self.learns(layer))]:
            left_out.append(f"{', '.join(never)}, frozen all along")
        return found + (f" (left out: {'; '.join(left_out)})" if left_out else "")

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows of a table: SVCCA by layer at up to three steps, which fit into 80 characters, and the
        means of SVCCA and CKA over all pairs in which the layer learnt."""
        names = [layer.name if layer.trustworthy else f"{layer.name} *" for layer in self.layers]
        steps = [f"{step:,}" for step in self.steps]
        places = spread(range(len(steps)), 3)
        rows = []
        for layer, name in zip(self.layers, names, strict=True):
            shown = [*(layer.svcca[place] for place in places), _mean(layer.svcca), _mean(layer.cka)]
            learns = self.learns(layer)
            learns = [*(learns[place] for place in places), *[any(learns)] * 2]
            rows.append([name, *(f"{each:.3f}" if known else "-" for each, known in zip(shown, learns, strict=True))])
        return ["layer", *(steps[place] for place in places), "mean", "CKA"], rows

    def notes(self) -> list[str]:
        """Explain the marks in the table."""
        notes = ["CKA: mean linear CKA"]
        if not all(all(self.learns(layer)) for layer in self.layers):
            notes.append("-: frozen; means without such pairs")
        if not all(layer.trustworthy for layer in self.layers):
            notes.append(f"*: fewer than {ENOUGH} samples per direction, SVCCA too high; give more --observations")
        return notes

    def to_json(self) -> dict[str, Any]:
        """Return everything, for a file; a similarity that is nan is None there, as JSON has no nan."""
        layers = [{**vars(layer), "trustworthy": layer.trustworthy} for layer in self.layers]
        record: dict[str, Any] = plain({**vars(self), "layers": layers, "verdict": self.verdict()})
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Convergence":
        """Return the convergence that `to_json` gave."""
        layers = []
        for each in record["layers"]:
            svccas, ckas = ([math.nan if value is None else value for value in each[name]] for name in MEASURES)
            layers.append(Layer(each["name"], svccas, ckas, each["samples"], each["directions"], each["freezes"]))
        return cls(record["steps"], record["gap"], layers, record["frozen_at"])


def _learns(steps: Sequence[int], gap: int, frozen_at: int | None) -> list[bool]:
    """Tell for each pair of steps whether a layer that was frozen then, or never, could change all the time between."""
    return [frozen_at is None or step + gap <= frozen_at for step in steps]


def analyze_svcca(
    path: Path, *, gap: int | None, num_observations: int, json_file: Path | None, out: Path | None
) -> None:
    """Measure how early each layer settles."""
    terminal, folder = Terminal(), RunFolder.open(path)
    picture = new_picture(out, default=path / "svcca.png")
    if json_file is not None:
        refuse_unusable(json_file, "--json")
    if num_observations < 2:
        raise SettingError(f"--observations {num_observations} must be 2 or more")
    if gap is not None and gap < 1:
        raise SettingError(f"--gap {gap} must be 1 or more")
    weights = weights_by_step(path)
    steps, found_gap = pairs_of(list(weights), gap)
    if not steps:
        raise SettingError(
            f"{path} has no two snapshots{'' if gap is None else f' --gap {gap} steps apart'}, only of "
            f"{', '.join(f'step {step:,}' for step in weights)}; train with --snapshot-every"
        )
    agent, environment = load_player(folder)
    observations = play(
        agent, environment, count=num_observations, every=2, progress=partial(terminal.advance, "playing")
    )
    freezes = [record["step"] for record in read_metrics(path) if record["kind"] == "freeze"]
    convergence = converge(
        (agent, copy.deepcopy(agent)), observations, steps, lambda step: weights[step](), gap=found_gap,
        frozen_at=freezes[0] if freezes else None, progress=partial(terminal.advance, "comparing"),
    )  # fmt: skip
    Console().print(convergence_table(convergence))
    terminal.say(convergence.verdict())
    write_picture(draw(convergence, f"{folder.config['env']}, {folder.config['agent']}"), picture)
    if json_file is not None:
        write(json_file, json.dumps(convergence.to_json(), indent=2, allow_nan=False).encode() + b"\n", flag="--json")
    terminal.say(f"wrote {picture}" + ("" if json_file is None else f" and {json_file}"))


def converge(
    agents: tuple[Agent[Any], Agent[Any]],
    observations: np.ndarray,
    steps: Sequence[int],
    load: Load,
    *,
    gap: int,
    frozen_at: int | None = None,
    progress: Callable[[int, int], None],
) -> Convergence:
    """Compare every layer at each of `steps` with itself `gap` later, on observations [B, S, C, H, W] uint8.

    `load` gives the weights of a step; the two agents are only used to run them. `frozen_at` is the step of the freeze.
    """
    found: dict[str, list[Covariances]] = {}
    for number, step in enumerate(steps):
        for name, covariances in _covary(agents, observations, (load(step), load(step + gap))).items():
            found.setdefault(name, []).append(covariances)
        progress(number + 1, len(steps))
    frozen = frozen_layers(agents[0])
    layers = []
    for name, pairs in found.items():
        learns = _learns(steps, gap, frozen_at if name in frozen else None)
        svccas, ckas = (
            [measure(each) if known else math.nan for each, known in zip(pairs, learns, strict=True)]
            for measure in (svcca, linear_cka)
        )
        layers.append(Layer(name, svccas, ckas, pairs[0].count, max(map(num_directions, pairs)), name in frozen))
    return Convergence(list(steps), gap, layers, frozen_at)


def pairs_of(steps: Sequence[int], gap: int | None) -> tuple[list[int], int]:
    """Return the steps that have a snapshot `gap` later, and the gap: for None, the usual one between snapshots."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(steps)]
    gap = gap or (statistics.mode(gaps) if gaps else 0)
    return [step for step in steps if gap and step + gap in set(steps)], gap


def convergence_table(convergence: Convergence) -> Table:
    """Return the table for a terminal."""
    head, rows = convergence.table()
    table = Table(
        title=convergence.title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
        padding=(0, 1, 0, 0), caption="; ".join(convergence.notes()), caption_justify="left",
    )  # fmt: skip
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def draw(convergence: Convergence, title: str) -> Figure:
    """Draw SVCCA and CKA of every layer over steps, side by side; dark for the pixels, light for the outputs."""
    style = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with rc_context(style | {"grid.alpha": 0.25}):  # type: ignore[arg-type]
        figure = Figure(figsize=(11, 4.2), layout="constrained", dpi=200)
        panels = figure.subplots(1, 2, sharey=True)
        ends = np.array(convergence.steps) + convergence.gap
        shades = colormaps["viridis"](np.linspace(0, 0.9, len(convergence.layers)))  # an order that greys keep
        for axes, measure in zip(panels, MEASURES, strict=True):
            for layer, colour in zip(convergence.layers, shades, strict=True):
                axes.plot(ends, getattr(layer, measure), color=colour, marker="o", markersize=4, label=layer.name)
            if convergence.frozen_at is not None and 0 < convergence.frozen_at <= ends[-1]:
                axes.axvline(convergence.frozen_at, color="#666666", linestyle="--", linewidth=1, label="freeze")
            axes.set_title({"svcca": "SVCCA", "cka": "linear CKA"}[measure], loc="left")
            axes.set_xlabel("training steps (agent decisions)")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        panels[0].set_ylabel(f"similarity with {convergence.gap:,} steps before")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", frameon=False, title="from the pixels up")
    return figure


def _covary(
    agents: tuple[Agent[Any], Agent[Any]], observations: np.ndarray, weights: tuple[Weights, Weights]
) -> dict[str, Covariances]:
    """Return sums over all observations, by layer."""
    found: dict[str, Covariances] = {}
    sides = [_activations(agent, observations, own) for agent, own in zip(agents, weights, strict=True)]
    for left, right in zip(*sides, strict=True):  # chunk by chunk: all activations at once wouldn't fit
        for name in left:
            found.setdefault(name, Covariances()).add(as_samples(left[name]), as_samples(right[name]))
    return found


def _activations(agent: Agent[Any], observations: np.ndarray, weights: Weights) -> Iterator[Activations]:
    """Give the activations of every layer with these weights, by chunk of observations."""
    load_weights(agent, weights)
    for start in range(0, len(observations), CHUNK):
        yield all_activations(agent, torch.from_numpy(observations[start : start + CHUNK]).to(agent.device))


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
