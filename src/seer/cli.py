"""The commands: read the flags, call what they are for."""

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from seer import arguments as given
from seer.closed_output import outliving_readers
from seer.errors import SettingError
from seer.flags import parse, parse_config, read_settings


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
    settings = parse(given.Resume, "resume", arguments)
    from seer.trainer import resume_run

    changes = {name: value for name, value in vars(settings).items() if name != "folder" and value is not None}
    if settings.log == ("none",):
        changes["log"] = ()
    resume_run(settings.folder, changes)


def evaluate(arguments: Sequence[str]) -> None:
    """`seer eval`: a trained agent."""
    settings = parse(given.Evaluate, "eval", arguments)
    from seer.training.play import evaluate_run

    evaluate_run(settings.folder, episodes=settings.episodes, seed=settings.seed, video=settings.video)


def export(arguments: Sequence[str]) -> None:
    """`seer export`: a trained agent, to be run elsewhere."""
    settings = parse(given.Export, "export", arguments)
    from seer.export.run import export_run

    export_run(settings.folder, onnx=settings.onnx, out=settings.out, observations=settings.observations)


def plot(arguments: Sequence[str]) -> None:
    """`seer plot`: learning curves."""
    settings = parse(given.Plot, "plot", arguments)
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
    settings = parse(given.Sweep, "sweep", own)
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
    settings = parse(given.Reproduce, "reproduce", arguments)
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
    settings = parse(given.Report, "report", arguments)
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
        shown = parse(given.Attention, "analyze attention", rest)
        from seer.paper.attention import analyze_attention

        analyze_attention(shown.folder, frames=shown.frames, out=shown.out, video=shown.video)
    else:
        measured = parse(given.Svcca, "analyze svcca", rest)
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
    from seer.training.cost import print_flops

    print_flops(config)


def memory(arguments: Sequence[str]) -> None:
    """`seer memory`: replay capacity."""
    config = parse_config("memory", arguments)
    from seer.training.cost import print_memory

    print_memory(config)


def _without(flag: str, arguments: Sequence[str], does: str) -> tuple[list[str], bool]:
    """The arguments without a flag that is the command's, not the run's, and whether it was there; told in --help."""
    if {"-h", "--help"} & set(arguments):
        print(f"{flag}: {does}\n")
    return [argument for argument in arguments if argument != flag], flag in arguments


def _keep(path: Path, *, overwrite: bool) -> None:
    """Overwrite nothing unasked."""
    if path.exists() and not overwrite:
        raise SettingError(f"--out {path} exists: give another place, or --overwrite")
