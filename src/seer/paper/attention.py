"""Where each convolutional layer looks, over training (SEER, section 5.4, figure 8a).

A layer's attention is the mean over its channels of absolute activations, then a softmax over positions. It is shown
as a heat map over the frame, each map from its own least to its own most, so that layers and steps can be compared by
place, not by strength.

Axes: B observations, S stack, C channels, H, W of the frame, h, w of a map.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from torch import Tensor

from seer.agents.activations import encoder_activations
from seer.agents.agent import Agent
from seer.errors import SettingError
from seer.reporting.files import new_picture, spread, weights_by_step, write_picture
from seer.runs.folder import RunFolder
from seer.runs.snapshots import Weights, load_weights
from seer.runs.terminal import Terminal
from seer.runs.video import filming
from seer.training.load_run import load_player
from seer.training.observations import play

CHUNK = 32
OPACITY = 0.55
TILE = 168
"""Side in pixels of one picture of the film."""

FILMED, FILM_PACE, MOST_FRAMES = 150, 15, 20
"""Observations in a film of attention, and how many it shows a second."""

Append = Callable[[np.ndarray], None]
Progress = Callable[[int, int], None]
Maps = dict[str, np.ndarray]
"""By layer: attention [B, h, w]."""


def analyze_attention(path: Path, *, frames: int, out: Path | None, video: Path | None) -> None:
    """Draw where the convolutions look, over training."""
    if not 1 <= frames <= MOST_FRAMES:
        raise SettingError(f"--frames {frames}: a picture shows 1 to {MOST_FRAMES}; give one of these numbers")
    terminal, folder = Terminal(), RunFolder.open(path)
    picture = new_picture(out, default=path / "attention.png")
    agent, environment = load_player(folder)
    if environment.packing is not None:
        raise SettingError("seer analyze attention draws over one picture: this agent sees several cameras, or vectors")
    steps = weights_by_step(path)
    with filming(video, frames_per_second=FILM_PACE) as append:
        observations = play(agent, environment, count=FILMED, skip=60, progress=partial(terminal.advance, "playing"))
        maps = [(step, attend(agent, observations, steps[step]())) for step in spread(list(steps), 6)]
        if append is not None:
            chosen = [maps[index] for index in sorted({0, len(maps) // 2, len(maps) - 1})]
            film(pictures_of(agent, observations), chosen, append, partial(terminal.advance, "filming"))
    places = spread(range(len(observations) // 4, len(observations)), frames)
    stills = [(step, {layer: each[places] for layer, each in found.items()}) for step, found in maps]
    title = f"Spatial attention, {folder.config['env']}, {folder.config['agent']}"
    write_picture(draw_grid(pictures_of(agent, observations[places]), stills, title), picture)
    terminal.say(f"wrote {picture}" + ("" if video is None else f" and {video}"))


def spatial_attention(activations: Tensor) -> Tensor:
    """Return attention [B, h, w] of a layer's activations [B, C, h, w], which sums to 1 over positions."""
    mean = activations.abs().mean(1)
    return mean.flatten(1).softmax(1).view(mean.shape)


def attend(agent: Agent[Any], observations: np.ndarray, weights: Weights) -> Maps:
    """Return attention of every convolutional layer with these weights, on observations [B, S, C, H, W] uint8."""
    load_weights(agent, weights)
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(observations), CHUNK):
        frames = torch.from_numpy(observations[start : start + CHUNK]).to(agent.device)
        for name, activations in encoder_activations(agent, frames).items():
            if activations.dim() == 4:
                found.setdefault(name, []).append(spatial_attention(activations).cpu().numpy())
    return {name: np.concatenate(chunks) for name, chunks in found.items()}


def pictures_of(agent: Agent[Any], observations: np.ndarray) -> np.ndarray:
    """Return the newest frames of observations as acting sees them, RGB [B, H, W, 3] uint8."""
    newest = agent.view(torch.from_numpy(observations))[:, -1].numpy()  # [B, C, H, W]
    return np.ascontiguousarray(np.broadcast_to(newest, (len(newest), 3, *newest.shape[2:])).transpose(0, 2, 3, 1))


def overlay(picture: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Lay a map [h, w] as heat over a picture [H, W, 3] uint8."""
    height, width, _ = picture.shape
    spread = attention.max() - attention.min()
    heat = (attention - attention.min()) / spread if spread > 0 else np.zeros_like(attention)
    heat = np.clip(cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = colormaps["inferno"](heat)[..., :3] * 255
    grey = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)  # the heat alone has colour
    blend: np.ndarray = ((1 - OPACITY) * grey + OPACITY * colours).astype(np.uint8)
    return blend


def draw_grid(pictures: np.ndarray, maps: Sequence[tuple[int, Maps]], title: str) -> Figure:
    """Draw frames [B, H, W, 3] and, for each, a row per layer and a column per step of (step, attention)."""
    layers = list(maps[0][1])
    num_rows, num_columns = len(pictures) * len(layers), 1 + len(maps)
    with rc_context({"font.size": 11}):
        figure = Figure(figsize=(1.7 * num_columns + 0.6, 1.75 * num_rows + 1), layout="constrained", dpi=150)
        panels = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for row, (frame, layer) in enumerate((f, layer) for f in range(len(pictures)) for layer in layers):
            first, *others = panels[row]
            if layer == layers[0]:
                first.imshow(pictures[frame])
                first.set_title("frame")
            for axes, (step, attention) in zip(others, maps, strict=True):
                axes.imshow(overlay(pictures[frame], attention[layer][frame]))
                if layer == layers[0]:
                    axes.set_title(f"step {step:,}")
            others[0].set_ylabel(layer)
        figure.suptitle(f"{title}\ndark: least, bright: most, in each map", x=0.01, ha="left", fontsize=12)
    return figure


def film(pictures: np.ndarray, maps: Sequence[tuple[int, Maps]], append: Append, progress: Progress) -> None:
    """Append one picture [height, width, 3] uint8 per frame: a row per step, the frame and every layer's attention."""
    for number, picture in enumerate(pictures):
        rows = []
        for step, attention in maps:
            large = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
            tiles = [_captioned(large, f"step {step:,}")]
            tiles += [_captioned(overlay(large, own[number]), layer) for layer, own in attention.items()]
            rows.append(np.concatenate(tiles, axis=1))
        append(np.concatenate(rows))
        progress(number + 1, len(pictures))


def _captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """Return the picture with a line of text above."""
    bar = np.zeros((20, TILE, 3), np.uint8)
    cv2.putText(bar, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([bar, picture])
