"""The flags of each command, as dataclasses: what they mean, and their defaults. Those of `seer train` are `Config`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seer.runs.outputs import OUTPUTS
from seer.sweeps.options import SweepOptions


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue an interrupted run from its last checkpoint. What a flag changes stays with the run."""

    folder: tyro.conf.Positional[Path]
    """Run folder."""

    device: Annotated[str | None, tyro.conf.arg(metavar="STR|None")] = None
    """cpu, cuda, or auto. Default: as before."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N|None")] = None
    """CPU threads. Default: as before."""

    env_timeout: Annotated[float | None, tyro.conf.arg(metavar="SECONDS|None")] = None
    """Seconds that the environment may take for a step. Default: as before."""

    checkpoint_every: Annotated[int | None, tyro.conf.arg(metavar="N|None")] = None
    """Steps between checkpoints. Default: as before."""

    snapshot_every: Annotated[int | None, tyro.conf.arg(metavar="N|None")] = None
    """Steps between snapshots of the weights. Default: as before."""

    log: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="|".join((*OUTPUTS, "MODULE:CLASS", "none")))] = None
    """Where records go too; none: nowhere else. Default: as before."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Play whole games with the agent of a run's last checkpoint."""

    folder: tyro.conf.Positional[Path]
    """Run folder."""

    episodes: int = 10
    """Games."""

    seed: int = 0
    """Seed of the games."""

    video: Path | None = None
    """Write the first game to this MP4 file (needs the extra seer-rl[video])."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write the agent of a run's last checkpoint as files that run without seer and torch (docs/export.md; needs the
    extra seer-rl[export])."""

    folder: tyro.conf.Positional[Path]
    """Run folder."""

    onnx: bool = False
    """As ONNX: encoder, policy, and both together, in float32; checked in ONNX Runtime against the agent."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR|None")] = None
    """Folder to write; must not exist. Default: onnx in the run folder."""

    observations: int = 512
    """Real observations that the files are checked on: one in four of those that the agent meets, playing for it."""


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the learning curves of runs; runs that differ in their seed alone are averaged."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders of sweeps and exhibits."""

    x: Literal["steps", "flops", "seconds"] = "steps"
    """Horizontal axis; FLOPs are multiply-adds as the paper counts them."""

    per_seed: bool = False
    """Draw every seed's own curve too."""

    out: Path = Path("learning_curve.png")
    """Picture to write, PNG or SVG."""

    overwrite: bool = False
    """Replace a picture that is there already."""


@dataclasses.dataclass(frozen=True)
class Attention:
    """Show where each convolutional layer looks, over training, on real frames of the run's environment."""

    folder: tyro.conf.Positional[Path]
    """Run folder; more than its last step is shown where it was trained with --snapshot-every."""

    out: Path | None = None
    """Picture to write, PNG or SVG. Default: attention.png in the run folder."""

    video: Path | None = None
    """Write a game and its attention, at the first, the middle and the last step, to this MP4 file (needs the extra
    seer-rl[video])."""

    frames: int = 2
    """Frames in the picture."""


@dataclasses.dataclass(frozen=True)
class Svcca:
    """Measure how early each layer settles: SVCCA and linear CKA with itself some steps later (needs snapshots)."""

    folder: tyro.conf.Positional[Path]
    """Run folder, trained with --snapshot-every."""

    gap: Annotated[int | None, tyro.conf.arg(metavar="N|None")] = None
    """Steps between the two times (SEER: 10,000). Default: those between two snapshots."""

    observations: int = 2000
    """Held-out observations, of games that the run's agent plays for this; few make unlike layers look alike."""

    json: Path | None = None
    """Write all figures to this file."""

    out: Path | None = None
    """Picture to write, PNG or SVG. Default: svcca.png in the run folder."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train a grid of environments, arms and seeds. Flags of seer train for all runs follow after --."""

    grid: tyro.conf.Positional[Path | None] = None
    """TOML file of the grid: envs, seeds, [settings], [per-env.ENV], [arms.NAME]."""

    envs: tuple[str, ...] = ()
    """Environments, instead of those of the file."""

    seeds: tuple[int, ...] = ()
    """Seeds, instead of those of the file; a single number N means 0 to N-1."""

    freeze_at: tuple[str, ...] = ()
    """Arms, instead of those of the file: one per freeze step, such as 50000 never."""

    options: SweepOptions = dataclasses.field(default_factory=SweepOptions)


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Run an exhibit of the paper to its figure, its table and a report."""

    exhibit: tyro.conf.Positional[str]
    """fig2 to fig13, or table1."""

    scale: Literal["paper", "small", "toy"] = "paper"
    """paper: as published. small: an evening on two cores. toy: minutes, only to see that it works."""

    seeds: int | None = None
    """Seeds, from 0. Default: the scale's."""

    envs: tuple[str, ...] = ()
    """Only these of its environments, such as Alien Qbert. Default: the scale's."""

    replay: Literal["paper", "prioritized", "uniform"] = "paper"
    """Replay of all runs: as the paper says, which is prioritised for Rainbow and uniform for CURL; or all prioritised;
    or all uniform, as in the authors' code."""

    options: SweepOptions = dataclasses.field(default_factory=SweepOptions)


@dataclasses.dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about runs: scores, figures, cost, memory, settings."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of sweeps and exhibits, or run folders."""

    out: Path = Path("report.html")
    """Page to write."""

    overwrite: bool = False
    """Replace a page that is there already."""
