"""The commands: read the flags, build, call."""

import dataclasses
import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seer.config import AgentName
from seer.errors import SettingError
from seer.flags import parse, parse_config, read_settings
from seer.sweeps.options import SweepOptions
from seer.unread import outliving_readers


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
class Bench:
    """Measure how fast this machine runs the agents, how near that is to what it can do, and what
    Stable-Baselines3 needs for the same (with the extra seer-rl[bench])."""

    agents: tuple[AgentName, ...] = ("rainbow", "curl")
    """Agents, at the paper's settings; Rainbow and DQN on Alien, CURL and SAC on cartpole-swingup."""

    device: str = "auto"
    """As seer train takes it."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N|None")] = None
    """CPU threads. Default: as seer train takes them, 1 on Atari, one per core elsewhere."""

    quick: bool = False
    """A few slices only: to see that everything runs, not to quote."""

    scaling: Annotated[Path | None, tyro.conf.arg(metavar="PNG|None")] = None
    """Measure cost against work too (stored observations, batch, crops, resolution), and draw it there."""

    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE|None")] = None
    """Write everything measured to this JSON file."""

    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE|None")] = None
    """Write the tables to this Markdown file; if it exists, between its two lines <!-- seer bench: ... -->."""


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


def main() -> None:
    """The `seer` command; a user's mistake is one line on stderr and exit code 2."""
    commands: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
        "train": (train, "train an agent"),
        "resume": (resume, "continue an interrupted run"),
        "eval": (evaluate, "play whole games with a trained agent"),
        "export": (export, "write a trained agent as ONNX files"),
        "sweep": (sweep, "train a grid of environments, arms and seeds"),
        "reproduce": (reproduce, "run an exhibit of the paper"),
        "plot": (plot, "draw learning curves"),
        "analyze": (analyze, "look into a run: analyze attention RUN, analyze svcca RUN"),
        "report": (report, "write an HTML page about runs"),
        "flops": (flops, "table of what a step costs before and after the freeze"),
        "memory": (memory, "table of what the replay holds before and after the freeze"),
        "bench": (bench, "how fast this machine is, beside its limits and Stable-Baselines3"),
    }
    if "" not in sys.path:
        sys.path.append("")  # for --encoder-factory of a file in this folder; at the end, where it shadows nothing
    name, *arguments = sys.argv[1:] or ["--help"]
    if name == "--version":
        from seer import __version__

        print(f"seer {__version__}")
        return
    if name in ("-h", "--help"):
        print("usage: seer COMMAND [flags]; seer COMMAND --help explains them\n")
        print("\n".join(f"  {command:9} {text}" for command, (_, text) in commands.items()))
        return
    try:
        if name not in commands:
            near = difflib.get_close_matches(name, commands, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise SettingError(f"unknown command {name!r}; {meant}use one of {', '.join(commands)}")
        with outliving_readers():
            commands[name][0](arguments)
    except SettingError as error:
        print(f"seer: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # trainings and sweeps have their own way to stop
        print("seer: stopped", file=sys.stderr)
        sys.exit(130)


def train(arguments: Sequence[str]) -> None:
    """`seer train`: a new run; with `--dry-run`, what it would do, take and cost."""
    arguments, is_dry = _without("--dry-run", arguments, "say what the run will do, take and cost; train nothing")
    config = parse_config("train", arguments)
    if is_dry:
        from seer.dry_run import dry_run
        from seer.trainer import try_run

        try_run(config)
        dry_run(config)
    else:
        from seer.trainer import start_run

        start_run(config)


def resume(arguments: Sequence[str]) -> None:
    """`seer resume`: an interrupted run."""
    settings = parse(Resume, "resume", arguments)
    from seer.trainer import resume_run

    changes = {name: value for name, value in vars(settings).items() if name != "folder" and value is not None}
    resume_run(settings.folder, changes)


def evaluate(arguments: Sequence[str]) -> None:
    """`seer eval`: a trained agent."""
    settings = parse(Evaluate, "eval", arguments)
    from seer.play import evaluate_run

    evaluate_run(settings.folder, episodes=settings.episodes, seed=settings.seed, video=settings.video)


def export(arguments: Sequence[str]) -> None:
    """`seer export`: a trained agent, to be run elsewhere."""
    settings = parse(Export, "export", arguments)
    from seer.export import export_run

    export_run(settings.folder, onnx=settings.onnx, out=settings.out, observations=settings.observations)


def plot(arguments: Sequence[str]) -> None:
    """`seer plot`: learning curves."""
    settings = parse(Plot, "plot", arguments)
    from seer.reporting.plots import plot_runs

    _keep(settings.out, overwrite=settings.overwrite)
    picture = plot_runs(settings.folders, x=settings.x, out=settings.out, per_seed=settings.per_seed, say=print)
    print(f"wrote {picture}")


def sweep(arguments: Sequence[str]) -> None:
    """`seer sweep`: many runs."""
    own, common = list(arguments), []
    if "--" in own:
        at = own.index("--")
        own, common = own[:at], own[at + 1 :]
    settings = parse(Sweep, "sweep", own)
    from seer.sweeps.grid import make_grid
    from seer.sweeps.options import sweep_folder
    from seer.sweeps.plan import make_plan
    from seer.sweeps.run import run

    options = settings.options
    grid = make_grid(settings.grid, envs=settings.envs, seeds=settings.seeds, freeze_at=settings.freeze_at)
    root = sweep_folder(options)
    trials = grid.trials(read_settings(common), threads=options.threads)
    run(make_plan("sweep", trials, root=root, options=options))


def reproduce(arguments: Sequence[str]) -> None:
    """`seer reproduce`: an exhibit of the paper."""
    settings = parse(Reproduce, "reproduce", arguments)
    from seer.paper import reproduce

    reproduce.reproduce(
        settings.exhibit,
        settings.scale,
        seeds=settings.seeds,
        envs=settings.envs,
        prioritized={"paper": None, "prioritized": True, "uniform": False}[settings.replay],
        options=settings.options,
    )


def report(arguments: Sequence[str]) -> None:
    """`seer report`: a page about runs."""
    settings = parse(Report, "report", arguments)
    from seer.reporting.report import write_report

    _keep(settings.out, overwrite=settings.overwrite)
    print(f"wrote {write_report(settings.folders, out=settings.out)}")


def analyze(arguments: Sequence[str]) -> None:
    """`seer analyze`: what a run's layers say."""
    name, *rest = arguments or [""]
    if name in ("-h", "--help"):
        print("usage: seer analyze attention RUN, seer analyze svcca RUN; with --help each explains its flags")
        return
    if name not in ("attention", "svcca"):
        raise SettingError(
            f"{f'seer analyze {name!r} is unknown' if name else 'it is not said what to analyze'}; "
            "write seer analyze attention RUN or seer analyze svcca RUN"
        )
    if name == "attention":
        shown = parse(Attention, "analyze attention", rest)
        from seer.paper.attention import analyze_attention

        analyze_attention(shown.folder, frames=shown.frames, out=shown.out, video=shown.video)
    else:
        measured = parse(Svcca, "analyze svcca", rest)
        from seer.paper.convergence import analyze_svcca

        analyze_svcca(
            measured.folder,
            gap=measured.gap,
            num_observations=measured.observations,
            json_file=measured.json,
            out=measured.out,
        )


def flops(arguments: Sequence[str]) -> None:
    """`seer flops`: cost per step."""
    config = parse_config("flops", arguments)
    from seer.cost import print_flops

    print_flops(config)


def memory(arguments: Sequence[str]) -> None:
    """`seer memory`: replay capacity; with `--measure`, resident bytes and sampling time beside other replays."""
    does = "play real steps and measure resident bytes a step and sampling time, beside other replays"
    arguments, measured = _without("--measure", arguments, does)
    config = parse_config("memory", arguments)
    from seer.cost import print_memory

    print_memory(config)
    if measured:
        from seer.bench.run import measure_memory

        measure_memory(config)


def bench(arguments: Sequence[str]) -> None:
    """`seer bench`: speed on this machine."""
    settings = parse(Bench, "bench", arguments)
    from seer.bench.run import run_bench

    run_bench(**vars(settings))


def _without(flag: str, arguments: Sequence[str], does: str) -> tuple[list[str], bool]:
    """The arguments without a flag that is the command's, not the run's, and whether it was there; told in --help."""
    if {"-h", "--help"} & set(arguments):
        print(f"{flag}: {does}\n")
    return [argument for argument in arguments if argument != flag], flag in arguments


def _keep(path: Path, *, overwrite: bool) -> None:
    """Overwrite nothing unasked."""
    if path.exists() and not overwrite:
        raise SettingError(f"--out {path} exists: give another place, or --overwrite")
