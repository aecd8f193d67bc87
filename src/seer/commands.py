"""What each command does, from a config or a run folder to the last printed line."""

import copy
import dataclasses
import json
import math
import os
import re
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from seer.agents.agent import Agent
from seer.analysis.attention import attend, draw_grid, film, pictures_of
from seer.analysis.convergence import converge, convergence_table, draw, pairs_of
from seer.analysis.files import new_picture, refuse_existing, spread, weights_by_step, write, write_picture
from seer.analysis.observations import play
from seer.bench.bench import measure
from seer.bench.ledger import ledger_table, measure_stores
from seer.bench.report import check_output, print_report, write_json, write_markdown
from seer.bench.scaling import draw_scaling
from seer.bench.subject import bench_config
from seer.bench.timing import FULL, QUICK
from seer.budget import disk_bytes
from seer.build import (
    PARALLEL_GAMES,
    build,
    build_agent,
    build_environment,
    build_evaluator,
    build_schedule,
    describe_computing,
    pick_device,
    pick_precision,
    replay_bytes,
    settle_precision,
    use_threads,
)
from seer.config import AgentName, Config, config_from_json, config_to_json
from seer.environments import GymnasiumEnvironment, PixelEnvironment
from seer.environments.rendering import choose_backend
from seer.errors import LearningError, SettingError, shortened
from seer.experiments.plots import plot_runs
from seer.experiments.tables import flops_table, memory_table
from seer.phase import Phase
from seer.presets import CONTROL
from seer.replay import RowFormat
from seer.training.checkpoint import holds_checkpoint, latest_checkpoint, load_checkpoint
from seer.training.journal import Interrupted, Journal
from seer.training.loop import train
from seer.training.parts import Training
from seer.training.run import (
    CHANGEABLE,
    CONFIG_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    Metrics,
    RunFolder,
    flatten,
    read_metrics,
    refuse_used,
)
from seer.training.terminal import Terminal, human_bytes
from seer.training.video import filming, recording
from seer.transfer import adopt_encoder, adopt_weights
from seer.validation import validate

ABSENT = object()
FAILURE_FILE = "failure.txt"

FITS_NOT = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, SystemError, TypeError,
    ValueError,
)  # fmt: skip
"""What loading a state that is whole but foreign ends in."""

LEDGER_STEPS = 2000
"""Steps played for `seer memory --measure`: enough for a system that counts memory in pages."""

EXPORT_EVERY = 4
"""Steps between two observations of an export: int8's ranges need many situations, not one seen many times."""

FILMED, FILM_PACE, MOST_FRAMES = 150, 15, 20
"""Observations in a film of attention, and how many it shows a second."""


def start_run(config: Config) -> None:
    """Train from the first step, in a new folder."""
    out, config = _new_folder(config), settle_precision(config)
    terminal = Terminal()
    run = _ready(config, out, terminal)
    with RunFolder.create(out, config_to_json(config)) as folder, _metrics(folder) as metrics:
        _train_to_the_end(Journal(run, folder, metrics, terminal))


def try_run(config: Config) -> None:
    """Refuse what `start_run` would; write nothing."""
    with closing(_ready(config, _new_folder(config), Terminal())):
        pass


def _ready(config: Config, out: Path, terminal: Terminal) -> Training:
    """A run before its first step, once nothing is known that speaks against it."""
    refuse_used(out)
    run = build(config)
    _refuse_full_disk(out, run)
    _adopt(run, config, terminal)
    return run


def resume_run(path: Path, changes: Mapping[str, Any]) -> None:
    """Train on from the last checkpoint; from the first step if the run was cut off before its first checkpoint.

    `changes` are of `CHANGEABLE` settings, and stay with the run.
    """
    with RunFolder.open(path, writing=True) as folder:
        if (path / SUMMARY_FILE).exists():
            raise SettingError(f"{path} is finished; seer eval plays its agent, seer train starts a new run")
        begun_with, terminal = _config_of(folder), Terminal()
        config = validate(dataclasses.replace(begun_with, **changes), new=False)
        run = build(config)
        begun = _has_begun(folder)
        if begun:
            checkpoint = latest_checkpoint(folder.checkpoints)
            figures = _load(run, checkpoint, folder.config)
        else:
            _adopt(run, config, terminal)
        folder.change(changes)
        with _metrics(folder) as metrics:
            journal = Journal(run, folder, metrics, terminal)
            if begun:
                journal.load_state_dict(figures, checkpoint)
            terminal.say(f"resuming {path} at step {run.step:,}")
            if run.lost_episode:
                terminal.say(
                    "the environment did not go the same way again: its episode was cut there, a new one begins"
                )
            _clear_failure(path)
            _train_to_the_end(journal)


def _has_begun(folder: RunFolder) -> bool:
    """Whether anything was kept of a run; one that was cut off before that has an empty folder of checkpoints.

    A run makes that folder first: where it is missing, it was lost.
    """
    if not folder.checkpoints.is_dir() or holds_checkpoint(folder.checkpoints):
        return True
    return (folder.path / METRICS_FILE).exists() and bool(read_metrics(folder.path))


def _adopt(run: Training, config: Config, terminal: Terminal) -> None:
    """Take the encoder of another run, or the weights of a module of one's own, if the settings say so."""
    if config.freeze.encoder_from is not None:
        step = adopt_encoder(run.agent, config)
        terminal.say(f"starting with the encoder of {config.freeze.encoder_from}, trained for {step:,} steps")
    if config.freeze.encoder_weights is not None:
        adopt_weights(run.agent, Path(config.freeze.encoder_weights))


def evaluate_run(path: Path, *, episodes: int, seed: int, video: Path | None) -> None:
    """Play whole games with the agent of the last checkpoint; record the first one if asked to."""
    if episodes < 1:
        raise SettingError(f"--episodes {episodes} must be 1 or more")
    if seed < 0:
        raise SettingError(f"--seed {seed} must be 0 or more")
    folder = RunFolder.open(path)
    config = _config_of(folder)
    agent, environment = load_player(folder)
    evaluator = build_evaluator(config, games=min(episodes, PARALLEL_GAMES), seed=seed)
    terminal = Terminal()
    with recording(video, frames_per_second=environment.metadata["render_fps"]) as watch:
        evaluation = evaluator(
            agent, episodes=episodes, step=0, progress=partial(terminal.advance, "playing"), watch=watch
        )
    assert evaluation is not None  # nobody gives it up
    terminal.table(
        f"{config.env}, {config.agent}, {latest_checkpoint(folder.checkpoints).name}",
        {
            "score": f"{evaluation.mean:,.1f} ± {evaluation.std:,.1f}",
            "scores": ", ".join(f"{score:,.0f}" for score in evaluation.returns),
            "steps": ", ".join(f"{length:,}" for length in evaluation.lengths),
        },
    )
    if video is not None:
        terminal.say(f"wrote {video}")


def analyze_attention(path: Path, *, frames: int, out: Path | None, video: Path | None) -> None:
    """Draw where the convolutions look, over training."""
    if frames < 1:
        raise SettingError(f"--frames {frames} must be 1 or more")
    if frames > MOST_FRAMES:
        raise SettingError(f"--frames {frames} makes a picture that nobody can look at; give {MOST_FRAMES} or fewer")
    picture = new_picture(out, default=path / "attention.png")
    terminal, folder = Terminal(), RunFolder.open(path)
    agent, environment = load_player(folder)
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


def analyze_svcca(
    path: Path, *, gap: int | None, num_observations: int, json_file: Path | None, out: Path | None
) -> None:
    """Measure how early each layer settles."""
    picture = new_picture(out, default=path / "svcca.png")
    if json_file is not None:
        refuse_existing(json_file, "--json")
    if num_observations < 2:
        raise SettingError(f"--observations {num_observations} must be 2 or more")
    if gap is not None and gap < 1:
        raise SettingError(f"--gap {gap} must be 1 or more")
    terminal, folder = Terminal(), RunFolder.open(path)
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
    convergence = converge(
        (agent, copy.deepcopy(agent)),
        observations,
        steps,
        lambda step: weights[step](),
        gap=found_gap,
        frozen_at=next((record["step"] for record in read_metrics(path) if record["kind"] == "freeze"), None),
        progress=partial(terminal.advance, "comparing"),
    )
    Console().print(convergence_table(convergence))
    terminal.say(convergence.verdict())
    write_picture(draw(convergence, f"{folder.config['env']}, {folder.config['agent']}"), picture)
    if json_file is not None:
        write(json_file, json.dumps(convergence.to_json(), indent=2, allow_nan=False).encode() + b"\n", flag="--json")
    terminal.say(f"wrote {picture}" + ("" if json_file is None else f" and {json_file}"))


def export_run(path: Path, *, onnx: bool, out: Path | None, observations: int) -> None:
    """Write the agent of the last checkpoint as ONNX files, once they are known to do what it does."""
    if not onnx:
        raise SettingError("seer export writes one format so far; write seer export RUN --onnx")
    if observations < 2:
        raise SettingError(f"--observations {observations} must be 2 or more")
    try:
        from seer.integrations.onnx import compare, make_bundle, outputs_of
    except ImportError as error:
        raise SettingError(f"--onnx needs the extra: pip install 'seer-rl[export]' ({error})") from None
    target = path / "onnx" if out is None else out
    folder = RunFolder.open(path)
    refuse_existing(target, "--out")
    config, terminal = dataclasses.replace(_config_of(folder), device="cpu"), Terminal()
    exact = dataclasses.replace(config, learning=dataclasses.replace(config.learning, precision="float32"))
    agent, environment = load_player(folder, exact)
    seen = play(
        agent, environment, count=observations, every=EXPORT_EVERY, progress=partial(terminal.advance, "playing")
    )
    checkpoint = latest_checkpoint(folder.checkpoints)
    about = {
        "run": path.resolve().name, "step": int(checkpoint.name.rpartition("-")[2]),
        "env": config.env, "image": dataclasses.asdict(config.image), "agent": config.agent,
        "precision": config.learning.precision, "latent_dtype": config.freeze.latent_dtype,
    }  # fmt: skip
    bundle = make_bundle(agent, seen, target, about, partial(terminal.advance, "exporting"))
    rows = bundle.rows()
    if (precision := pick_precision(config)) is not torch.float32:
        own = compare(outputs_of(load_player(folder, config)[0], seen), bundle.exact, "", tolerance=math.inf)
        rows[f"against it in {str(precision).removeprefix('torch.')}, as it plays here"] = str(own)
    terminal.table(f"{config.env}, {config.agent}, {checkpoint.name}", rows)
    if agent.phase is Phase.FRAMES:
        terminal.say("the encoder isn't frozen: encoder.onnx fits this checkpoint alone")
    terminal.say(f"wrote {target}")


def load_player(folder: RunFolder, config: Config | None = None) -> tuple[Agent[Any], PixelEnvironment]:
    """A run's last agent, and its environment as it is for evaluation; `config` is the run's unless it is given."""
    config = config or _config_of(folder)
    use_threads(config)
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, _device_to_play_on(config))
    checkpoint = latest_checkpoint(folder.checkpoints)
    state = load_checkpoint(checkpoint)
    with _fitting(checkpoint):
        _refuse_other_settings(checkpoint, state["settings"], folder.config)
        agent.load_state_dict(state["agent"])
    return agent, environment


def _device_to_play_on(config: Config) -> torch.device:
    """The run's, or the best that this machine has in its place."""
    try:
        return pick_device(config.device)
    except SettingError:
        return pick_device("auto")


def print_flops(config: Config) -> None:
    """Print what a step costs before and after the freeze."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame = RowFormat(environment.frame_shape, torch.uint8)
    table = flops_table(
        config.env,
        agent.cost,
        updates=config.learning.updates_per_step,
        steps=config.steps,
        first_update=build_schedule(config).first_update,
        frozen_at=config.freeze_step,
        capacity=replay_bytes(config, frame, agent.latent) // frame.num_bytes,
        after=Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=agent.latent.num_bytes),
    )
    Console().print(table)


def print_memory(config: Config) -> None:
    """Print what the replay holds before and after the freeze."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame = RowFormat(environment.frame_shape, torch.uint8)
    num_bytes = replay_bytes(config, frame, agent.latent)
    table = memory_table(config.env, num_bytes=num_bytes, frame=frame, latent=agent.latent)
    Console().print(table)


def measure_memory(config: Config) -> None:
    """Print what a step takes in memory, store by store, with `--replay-capacity` (2,000) steps really played."""
    steps = config.replay.capacity or LEDGER_STEPS
    use_threads(config)
    terminal = Terminal()
    entries, missing = measure_stores(config, steps, partial(terminal.advance, "measuring"))
    Console().print(ledger_table(config, steps, entries))
    for line in missing:
        terminal.say(f"missing: {line}")


def run_bench(
    *,
    agents: Sequence[AgentName],
    device: str,
    threads: int | None,
    quick: bool,
    scaling: Path | None,
    json: Path | None,
    markdown: Path | None,
) -> None:
    """Measure, print the tables, write the files that are asked for."""
    if not agents:
        raise SettingError("--agents names none; give one or more of rainbow, dqn, sac, curl")
    check_output("--scaling", scaling, endings=(".png", ".svg"))
    check_output("--json", json, endings=(".json",))
    check_output("--markdown", markdown, endings=(".md",), marked=True)
    plan, terminal = QUICK if quick else FULL, Terminal()
    configs = {agent: bench_config(agent, plan, device=device, threads=threads) for agent in agents}
    terminal.start()
    try:
        report = measure(configs, plan, scaling=scaling is not None, progress=partial(_measuring, terminal))
    finally:
        terminal.stop()
    print_report(report)
    if scaling is not None:
        draw_scaling(report.scaling, scaling)
    if json is not None:
        write_json(report, json)
    if markdown is not None:
        write_markdown(report, markdown)
    for path in filter(None, (scaling, json, markdown)):
        terminal.say(f"wrote {path}")


def _measuring(terminal: Terminal, done: int, total: int, what: str) -> None:
    terminal.advance("measuring", done, total, what)


def _metrics(folder: RunFolder) -> closing[Metrics]:
    return closing(Metrics(folder.path))


def _load(run: Training, checkpoint: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Bring a run to its checkpoint; returns the journal's part of it.

    A function of its own, so that nothing holds the checkpoint's mapped memory once it is copied.
    """
    state = load_checkpoint(checkpoint)
    with _fitting(checkpoint):
        _refuse_other_settings(checkpoint, state["settings"], config)
        run.load_state_dict(state)
        return state["journal"]


def _refuse_other_settings(checkpoint: Path, trained: dict[str, Any], config: dict[str, Any]) -> None:
    """A checkpoint of other settings is another run's, or `config.json` was changed."""
    theirs, ours = dict(flatten(trained)), dict(flatten(config))
    names = [n for n in {**theirs, **ours} if n not in CHANGEABLE and theirs.get(n, ABSENT) != ours.get(n, ABSENT)]
    if names:
        found = "; ".join(f"{name}: {theirs.get(name)} there, {ours.get(name)} in config.json" for name in names[:3])
        raise SettingError(f"checkpoint {checkpoint} is of other settings ({found}): restore the one or the other")


@contextmanager
def _fitting(checkpoint: Path) -> Iterator[None]:
    """A checkpoint that is whole but of another run than `config.json` is the user's to put right."""
    try:
        yield
    except SettingError:
        raise
    except FITS_NOT as error:
        raise SettingError(
            f"checkpoint {checkpoint} is foreign: it doesn't fit config.json ({' '.join(str(error).split())}); "
            "restore the one or the other, or start a new run"
        ) from error


def _refuse_full_disk(out: Path, run: Training) -> None:
    """Now, not after hours: SettingError where the checkpoints won't fit."""
    try:
        place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise SettingError(f"--out {out} can't be written (nothing can be made in {place}): choose another folder")
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise SettingError(f"--out {out} can't be written ({error.strerror}): choose another folder") from error
    new = run.schedule.checkpoint_every * run.replay.row.num_bytes
    needed = disk_bytes(run.agent, run.replay.num_bytes, new=new)
    if free < needed:
        raise SettingError(
            f"--out {out}: checkpoints take up to {human_bytes(needed)} and {human_bytes(free)} are free there; "
            "make room, choose another --out, or give less --replay-memory"
        )


def _train_to_the_end(journal: Journal) -> None:
    run = journal.run
    journal.terminal.say(describe_computing(_config_of(journal.folder)))
    if run.budget is not None:
        replay = human_bytes(run.replay.num_bytes)
        journal.terminal.say(f"Memory: at most {human_bytes(run.budget)}, {replay} of it the replay's")
    if journal.folder.config["env"].startswith(CONTROL):
        journal.terminal.say(str(choose_backend()))
    if isinstance(run.environment, GymnasiumEnvironment):
        journal.terminal.say(run.environment.account)
    folder = journal.folder.path
    with journal, _explaining(journal), closing(run):
        if journal.saved_at is None:
            journal.checkpoint()  # so that there is always one to go on from
        with suppress(Interrupted):
            train(run, journal)
            with journal.paused():
                journal.checkpoint()  # at the end too: what a summary calls finished must have its agent
    if not run.finished:
        journal.terminal.say(f"stopped at step {run.step:,}; go on with: seer resume {folder}")
        raise SystemExit(130)
    journal.finish()
    picture = plot_runs([folder], x="steps", out=folder / "learning_curve.png")
    journal.terminal.say(f"learning curve: {picture}\nrun folder: {folder}")


@contextmanager
def _explaining(journal: Journal) -> Iterator[None]:
    """What stops a run becomes one line with the step and the way on; the traceback is left in the folder."""
    try:
        yield
    except Exception as error:
        folder, step = journal.folder.path, journal.run.step
        what = f"stopped in step {step:,}: {error if isinstance(error, SettingError) else shortened(error)}"
        if not folder.is_dir():  # nothing is left to go on from
            raise SettingError(what) from error
        if journal.saved_at is not None and not isinstance(error, LearningError):
            what += f"; go on from step {journal.saved_at:,} with: seer resume {folder}"
        try:
            (folder / FAILURE_FILE).write_text(traceback.format_exc())
            what += f" (traceback: {folder / FAILURE_FILE})"
        except OSError:  # no room for it
            traceback.print_exc()
        raise SettingError(what) from error


def _clear_failure(folder: Path) -> None:
    (folder / FAILURE_FILE).unlink(missing_ok=True)


def _config_of(folder: RunFolder) -> Config:
    try:
        return validate(config_from_json(folder.config), new=False)
    except (TypeError, AttributeError) as error:
        raise SettingError(
            f"{folder.path / CONFIG_FILE} holds a setting of the wrong type ({error}): restore it, or start a new run"
        ) from error


def _new_folder(config: Config) -> Path:
    if config.out is not None:
        return Path(config.out)
    moment = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{re.sub('[/:]', '-', config.env)}-{config.agent}-{config.seed}-{moment}"
