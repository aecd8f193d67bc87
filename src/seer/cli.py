"""The commands: their flags, and what they call."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from seer import __version__
from seer.closed_output import surviving_closed_output
from seer.config import Config
from seer.errors import SettingError, did_you_mean
from seer.flags import FLAGS_OF_COMMANDS, agent_of, default_config, read, read_settings, with_settings
from seer.sweeps.options import SweepOptions

Options = Annotated[SweepOptions, Parameter(name="*")]
HELP = {"-h", "--help"}


def main() -> None:
    """The `seer` command; a user's mistake is one line on stderr and exit code 2."""
    if "" not in sys.path:
        sys.path.append("")  # for MODULE:NAME of a file in this folder; at the end, where it shadows nothing
    try:
        with surviving_closed_output():
            command(sys.argv[1:])()
    except SettingError as error:
        print(f"seer: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # trainings and sweeps have their own way to stop
        print("seer: stopped", file=sys.stderr)
        sys.exit(130)


def command(words: Sequence[str]) -> partial[Any]:
    """Return what a command line asks for, ready to be called; SettingError where it is no command or flag."""
    app = make_app(agent_of(words))
    name, *flags = words or ["--help"]
    if name not in (*app, "--version"):
        known = [each for each in app if not each.startswith("-")]
        raise SettingError(f"unknown command {name!r}; {did_you_mean(name, known)}use one of {', '.join(known)}")
    if name in OF_A_RUN and HELP & set(flags):
        asked, others = read(app, [name, *(word for word in flags if word not in HELP)])
        app = make_app(agent_of(words), default_config(others.arguments))
    common: tuple[str, ...] = ()
    if name == "sweep" and "--" in flags:  # those of seer train
        flags, common = flags[: flags.index("--")], tuple(flags[flags.index("--") + 1 :])
    asked, given = read(app, [name, *flags])
    return partial(asked, *given.args, **given.kwargs, **({"common": common} if common else {}))


def make_app(agent: str = Config.agent, shown: Config | None = None) -> App:
    """Return all commands, with the flags of an agent; with a config, the help gives its values as defaults."""
    app = App(
        name="seer",
        help="Train agents from pixels, their encoders frozen early. COMMAND --help explains its flags.",
        help_format="plaintext",
        version=f"seer {__version__}",
        default_parameter=FLAGS_OF_COMMANDS,
    )
    commands: dict[str, Callable[..., None]] = {
        "train": train, "resume": resume, "eval": evaluate, "export": export, "card": card,
        "sweep": sweep, "reproduce": reproduce, "plot": plot, "report": report, "flops": flops, "memory": memory,
    }  # fmt: skip
    for place, (name, each) in enumerate(commands.items()):
        app.command(with_settings(each, agent, shown) if name in OF_A_RUN else each, name=name, sort_key=place)
    analyses = App(
        name="analyze",
        help_format="plaintext",
        default_parameter=FLAGS_OF_COMMANDS,
        sort_key=len(commands),
    )
    analyses.default(analyze)
    analyses.command(attention)
    analyses.command(svcca)
    app.command(analyses)
    return app


OF_A_RUN = ("train", "flops", "memory")
"""Commands that take every setting of a run."""


def train(config: Config, *, dry_run: bool = False) -> None:
    """Train an agent.

    Args:
        dry_run: Say what the run will do, take and cost; train nothing.
    """
    if dry_run:
        from seer.dry_run import dry_run as foretell
        from seer.trainer import try_run

        try_run(config)
        foretell(config)
    else:
        from seer.trainer import start_run

        start_run(config)


def resume(
    folder: Path,
    /,
    *,
    device: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,  # noqa: A002
    replay_on: str | None = None,
    env_timeout: float | None = None,
    steps: int | None = None,
    freeze_at: str | None = None,
    checkpoint_every: int | None = None,
    keep_replay: bool | None = None,
    snapshot_every: int | None = None,
    log: tuple[str, ...] = (),
) -> None:
    """Continue an interrupted run from its last checkpoint, or a finished one past its end. What a flag changes stays.

    Args:
        folder: Run folder.
        steps: Prolong the run to so many steps in all; a finished one's replay begins empty unless it was kept.
        freeze_at: Choose anew when a run freezes that hasn't yet: a later step, never, auto, or package.module:Class.
        device: cpu, cuda, or auto. Default: as before.
        threads: CPU threads. Default: as before.
        compile: Compile the loss of Rainbow or DQN. Default: as before.
        replay_on: Folder on a disk to keep the replay in; none: in memory. Default: as before.
        env_timeout: Seconds that the environment may take for a step. Default: as before.
        checkpoint_every: Steps between checkpoints. Default: as before.
        keep_replay: Keep the replay when the run is finished. Default: as before.
        snapshot_every: Steps between snapshots of the weights. Default: as before.
        log: Where records go too: wandb, trackio, package.module:Class; none: nowhere else. Default: as before.
    """
    given = {name: value for name, value in locals().items() if value not in (None, ())}
    changes = {name: value for name, value in given.items() if name not in ("folder", "steps", "freeze_at")}
    without: dict[str, Any] = {"log": (), "replay_on": None}
    changes |= {name: empty for name, empty in without.items() if changes.get(name) in ("none", ("none",))}
    from seer.trainer import resume_run

    resume_run(folder, changes, steps=steps, freeze_at=freeze_at)


def evaluate(folder: Path, /, *, episodes: int = 10, seed: int = 0, video: Path | None = None) -> None:
    """Play whole games with the agent of a run's last checkpoint.

    Args:
        folder: Run folder.
        episodes: Games.
        seed: Seed of the games.
        video: Write the first game to this file: .mp4 (needs the extra seer-rl[video]) or .gif.
    """
    from seer.training.play import evaluate_run

    evaluate_run(folder, episodes=episodes, seed=seed, video=video)


def export(folder: Path, /, *, onnx: bool = False, out: Path | None = None, observations: int = 512) -> None:
    """Write the agent of a run's last checkpoint as files that run without seer and torch (needs seer-rl[export]).

    Args:
        folder: Run folder.
        onnx: As ONNX: encoder, policy, and both together, in float32; checked in ONNX Runtime against the agent.
        out: Folder to write; must not exist. Default: onnx in the run folder.
        observations: How many of the agent's own observations the files are checked on: one in four that it meets.
    """
    from seer.export.run import export_run

    export_run(folder, onnx=onnx, out=out, observations=observations)


def card(
    folder: Path,
    /,
    *,
    out: Path,
    step: int | None = None,
    license: str = "mit",  # noqa: A002
    author: str = "the author of this agent",
) -> None:
    """Write a run's agent as a folder to share, such as on Hugging Face: weights, settings, model card, licence.

    Args:
        folder: Run folder.
        out: Folder to write; must not exist.
        step: Of one of the run's snapshots. Default: the last checkpoint's.
        license: Of the weights: mit, apache-2.0, cc-by-4.0 or cc0-1.0.
        author: Whose the weights are, for LICENSE.
    """
    from seer.trained.card import write_card

    write_card(folder, out=out, step=step, license=license, author=author)


def sweep(
    grid: Path | None = None,
    /,
    *,
    envs: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    freeze_at: tuple[str, ...] = (),
    options: Options = SweepOptions(),  # noqa: B008
    common: Annotated[tuple[str, ...], Parameter(parse=False)] = (),
) -> None:
    """Train a grid of environments, variants and seeds. Flags of seer train for all runs follow after --.

    Args:
        grid: TOML file of the grid: envs, seeds, [settings], [per-env.ENV], [variants.NAME].
        envs: Environments, instead of those of the file.
        seeds: Seeds, instead of those of the file; a single number N means 0 to N-1.
        freeze_at: Variants, instead of those of the file: one per freeze step, such as 50000 never.
    """
    from seer.sweeps.grid import make_grid
    from seer.sweeps.plan import cost_trials
    from seer.sweeps.run import run

    wanted = make_grid(grid, envs=envs, seeds=seeds, freeze_at=freeze_at)
    options.check(needs_out=True)
    root = options.out or Path("runs/sweep")
    trials = wanted.trials(read_settings(common), threads=options.threads)
    run(cost_trials(trials, options), root=root, options=options)


def reproduce(
    exhibit: str,
    /,
    *,
    scale: Literal["paper", "small", "toy"] = "paper",
    seeds: int | None = None,
    envs: tuple[str, ...] = (),
    replay: Literal["paper", "prioritized", "uniform"] = "paper",
    options: Options = SweepOptions(),  # noqa: B008
) -> None:
    """Run an exhibit of the paper to its figure, its table and a report.

    Args:
        exhibit: fig2 to fig13, table1, or half of it: table1-compute or table1-memory.
        scale: paper: as published. small: an evening on two cores. toy: minutes, only to see that it works.
        seeds: Seeds, from 0. Default: the scale's.
        envs: Only these of its environments, such as Alien Qbert. Default: the scale's.
        replay: paper: prioritised for Rainbow, uniform for CURL. uniform: all, as in the authors' code.
    """
    from seer.paper import reproduce as paper

    prioritized = {"paper": None, "prioritized": True, "uniform": False}[replay]
    paper.reproduce(exhibit, scale, seeds=seeds, envs=envs, prioritized=prioritized, options=options)


def plot(
    *folders: Path,
    x: Literal["steps", "flops", "seconds"] = "steps",
    per_seed: bool = False,
    out: Path = Path("learning_curve.png"),
    overwrite: bool = False,
) -> None:
    """Draw the learning curves of runs; runs that differ in their seed alone are averaged.

    Args:
        folders: Run folders, or folders of sweeps and exhibits.
        x: Horizontal axis; FLOPs are multiply-adds as the paper counts them.
        per_seed: Draw every seed's own curve too.
        out: Picture to write, PNG or SVG.
        overwrite: Replace a picture that is there already.
    """
    from seer.reporting.plots import plot_runs

    _keep(out, overwrite=overwrite)
    print(f"wrote {plot_runs(folders, x=x, out=out, per_seed=per_seed)}")


def report(*folders: Path, out: Path = Path("report.html"), overwrite: bool = False) -> None:
    """Write one self-contained HTML page about runs: scores, figures, cost, memory, settings.

    Args:
        folders: Folders of sweeps and exhibits, or run folders.
        out: Page to write.
        overwrite: Replace a page that is there already.
    """
    from seer.reporting.report import write_report

    _keep(out, overwrite=overwrite)
    print(f"wrote {write_report(folders, out=out)}")


def analyze(*words: str) -> None:
    """Look into a run: seer analyze attention RUN, seer analyze svcca RUN."""
    asked = f"seer analyze {words[0]!r} is unknown" if words else "it is not said what to analyze"
    raise SettingError(f"{asked}; write seer analyze attention RUN or seer analyze svcca RUN")


def attention(folder: Path, /, *, out: Path | None = None, video: Path | None = None, frames: int = 2) -> None:
    """Show where each convolutional layer looks, over training, on real frames of the run's environment.

    Args:
        folder: Run folder; more than its last step is shown where it was trained with --snapshot-every.
        out: Picture to write, PNG or SVG. Default: attention.png in the run folder.
        video: Write a game and its attention at the first, middle and last step: .mp4 (needs seer-rl[video]) or .gif.
        frames: Frames in the picture.
    """
    from seer.paper.attention import analyze_attention

    analyze_attention(folder, frames=frames, out=out, video=video)


def svcca(
    folder: Path,
    /,
    *,
    gap: int | None = None,
    observations: int = 2000,
    json: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure how early each layer settles: SVCCA and linear CKA with itself some steps later (needs snapshots).

    Args:
        folder: Run folder, trained with --snapshot-every.
        gap: Steps between the two times (SEER: 10,000). Default: those between two snapshots.
        observations: Held-out ones, of games that the run's agent plays for this; few make unlike layers look alike.
        json: Write all numbers to this file.
        out: Picture to write, PNG or SVG. Default: svcca.png in the run folder.
    """
    from seer.paper.convergence import analyze_svcca

    analyze_svcca(folder, gap=gap, num_observations=observations, json_file=json, out=out)


def flops(config: Config) -> None:
    """Print what a step costs before and after the freeze."""
    from seer.training.cost import print_flops

    print_flops(config)


def memory(config: Config) -> None:
    """Print what the replay holds before and after the freeze."""
    from seer.training.cost import print_memory

    print_memory(config)


def _keep(path: Path, *, overwrite: bool) -> None:
    """Overwrite nothing unasked."""
    if path.exists() and not overwrite:
        raise SettingError(f"--out {path} exists: give another place, or --overwrite")
