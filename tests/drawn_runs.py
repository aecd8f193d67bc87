"""Run folders as training leaves them, and the readers of a picture of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seer.reporting.curves import Group, XAxis, group_runs
from seer.reporting.folders import read_folders
from seer.reporting.plots import draw_groups

STEPS = range(1000, 5001, 1000)
BEFORE, AFTER = 10**9, 10**8  # FLOPs per step
FROZEN, NEVER = "Rainbow + SEER, freeze at 2,000", "Rainbow, never frozen"


def score(seed: int, step: int) -> float:
    return step / 10 + 30 * seed


def make_run(
    root: Path,
    env: str = "ALE/Alien-v5",
    at: str = "2000",
    seed: int = 0,
    *,
    steps: range = STEPS,
    memory: Any = None,
) -> Path:
    """A run folder as training leaves it."""
    folder = root / f"{env.replace('/', '-')}-{at}-{seed}-{memory}"
    folder.mkdir(parents=True)
    config = {
        "env": env, "agent": "rainbow", "seed": seed, "out": str(folder), "replay": {"memory": memory},
        "freeze": {"at": at, "num_crops": 1},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    records = []

    def record(kind: str, step: int, **metrics: Any) -> None:
        frozen = step > int(at) if at != "never" else False
        flops = int(at) * BEFORE + (step - int(at)) * AFTER if frozen else step * BEFORE
        records.append(
            {"kind": kind, "step": step, "frames": 4 * step, "flops": flops, "wall_seconds": step / 50 + seed}
        )
        records[-1].update(metrics)

    for step in steps:
        record("episode", step - 500, episode_return=score(seed, step) - 5, episode_length=100)
        if str(step) == at:
            record("freeze", step)
        mean = score(seed, step)
        record("eval", step, mean=mean, std=7.0, episodes=2, returns=[mean - 7, mean + 7])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in records))
    return folder


def read_groups(folders: list[Path]) -> list[Group]:
    return group_runs(read_folders(folders)[0])


def draw_runs(folders: list[Path], *, x: XAxis, per_seed: bool = False) -> Figure:
    return draw_groups(read_groups(folders), x=x, per_seed=per_seed)


def labels(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text().replace("\n", " ") for text in legend.get_texts()]


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = (found for found in axes.lines if found.get_label() == label)
    return list(map(float, found.get_xdata())), list(map(float, found.get_ydata()))


def band(axes: Axes, number: int) -> np.ndarray:
    """Height of the band at each x."""
    corners = axes.collections[number].get_paths()[0].vertices
    return np.array([np.ptp(corners[corners[:, 0] == x, 1]) for x in np.unique(corners[:, 0])])


def dashed(axes: Axes) -> list[float]:
    return [float(found.get_xdata()[0]) for found in axes.lines if found.get_linestyle() == "--"]


def make_automatic(root: Path, seed: int, at: int | None, *, mode: str = "auto") -> Path:
    """A run that decided to freeze at this step, or never did."""
    folder = make_run(root, at="never" if at is None else str(at), seed=seed)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"freeze": {"at": "auto"}}))
    decision = {"mode": mode, "reason": "features settled", "similarity": 0.9876}
    if at is None:
        probe = {"kind": "probe", "step": 4000, "frames": 16000, "flops": 1, "wall_seconds": 1.0, "cka": 0.9876}
        with (folder / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps(probe | {"reason": "score at its floor"}) + "\n")
    records = (
        (folder / "metrics.jsonl")
        .read_text()
        .replace('"kind": "freeze"', json.dumps(decision)[1:-1] + ', "kind": "freeze"')
    )
    (folder / "metrics.jsonl").write_text(records)
    return folder
