"""`seer train` and `seer resume`: from settings or a run folder to the last printed line."""

import dataclasses
import os
import re
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from seer.config import Config, config_from_json, config_to_json
from seer.errors import LearningError, SettingError, shortened, writing_to
from seer.networks.own_module_check import refuse_unfit
from seer.reporting.plots import plot_runs
from seer.runs.checkpoints import complete_folders, latest_checkpoint, load_checkpoint
from seer.runs.folder import METRICS_FILE, RunFolder, read_metrics, read_summary, refuse_used
from seer.runs.logger import run_logger
from seer.runs.outputs import make_outputs
from seer.runs.terminal import Terminal, closing_table, human_bytes
from seer.signals import Interrupted, StopSignal, listening
from seer.training.budget import disk_bytes
from seer.training.build import build, build_freeze_rule
from seer.training.computing import denormals_as_zero, describe_computing, pick_device, settle_computing, try_compiler
from seer.training.encoder_lines import encoder_lines
from seer.training.evaluation import LONGEST_GAME
from seer.training.events import Events
from seer.training.load_run import config_of, fitting, refuse_other_settings
from seer.training.loop import reset_if_due, train
from seer.training.replan import (
    CHOSEN_ANEW,
    freezes_otherwise,
    prolong,
    prolonged,
    refuse_past_freeze,
    refuse_unfitted_range,
    with_freeze_at,
)
from seer.training.saving import EVENTS, Checkpointer
from seer.training.state import TrainingState
from seer.training.transfer import adopt_agent, adopt_encoder, adopt_weights
from seer.validation import validate

FAILURE_FILE = "failure.txt"


def start_run(config: Config) -> None:
    """Train from the first step, in a new folder."""
    out, config = _new_folder(config), settle_computing(config)
    terminal = Terminal()
    run = _ready(config, out, terminal)
    with RunFolder.create(out, config_to_json(config)) as folder, run_logger(folder, terminal) as logger:
        events = Events(run, folder, logger)
        train_to_the_end(events, Checkpointer(run, folder, events), terminal)


def try_run(config: Config) -> None:
    """Refuse what `start_run` would, and say what it says first; write nothing."""
    out, config, terminal = _new_folder(config), settle_computing(config), Terminal()
    with closing(_ready(config, out, terminal)) as run:
        _introduce(run, terminal)


def _ready(config: Config, out: Path, terminal: Terminal) -> TrainingState:
    """Build a run before its first step, once nothing is known that speaks against it."""
    refuse_used(out)
    make_outputs(config.log, out, {})  # while nothing is written: their packages may be missing
    run = build(config)
    _refuse_uncompilable(config, terminal)
    if run.environment.question and config.image.channels == "auto":  # a run that is under way goes on as it began
        raise SettingError(run.environment.question)
    _refuse_full_disk(out, run)
    _adopt(run, terminal)
    return run


def resume_run(
    path: Path, changes: Mapping[str, Any], *, steps: int | None = None, freeze_at: str | None = None
) -> None:
    """Train on from the last checkpoint; from the first step if the run was cut off before its first checkpoint.

    `changes` are of `CHANGEABLE` settings, and stay with the run; `steps` prolongs it, `freeze_at` decides anew when a
    run freezes that hasn't yet.
    """
    with RunFolder.open(path, writing=True) as folder:
        begun_with, terminal = config_of(folder), Terminal()
        _refuse_finished(folder, begun_with, steps)
        checkpoint = latest_checkpoint(folder.checkpoints) if _has_begun(folder) else None
        run, changes = _rebuilt(folder, changes, terminal, steps=steps, freeze_at=freeze_at)
        state, config, before = None, run.config, run.config
        if checkpoint is not None:
            state, before = _load(run, checkpoint, {**folder.config, **changes})
        else:
            _adopt(run, terminal)
        if config.steps > before.steps:
            _refuse_full_disk(path, run)
        refuse_unfitted_range(run, steps_before=before.steps)
        folder.change(changes)
        if config.steps > before.steps:
            folder.set_summary_aside(before.steps)
        with run_logger(folder, terminal, None if state is None else state["metrics"]) as logger:
            events = Events(run, folder, logger)
            if state is not None:
                events.load_state_dict(state)
            terminal.say(f"resuming {path} at step {run.step:,}")
            if run.lost_episode:
                terminal.say(
                    "the environment did not go the same way again: its episode was cut there, a new one begins"
                )
            (path / FAILURE_FILE).unlink(missing_ok=True)
            checkpointer = Checkpointer(run, folder, events, last=checkpoint)
            if config.steps > before.steps:
                _prolong(run, events, before.steps)
            if config.freeze.at != before.freeze.at:
                events.on_freeze_choice(before.freeze.choice, config.freeze.choice)
            if (config.steps, config.freeze.at) != (before.steps, before.freeze.at):
                checkpointer.save()
            train_to_the_end(events, checkpointer, terminal)


def _rebuilt(
    folder: RunFolder, changes: Mapping[str, Any], terminal: Terminal, *, steps: int | None, freeze_at: str | None
) -> tuple[TrainingState, dict[str, Any]]:
    """Return a run at its first step, and what of its settings (JSON) is otherwise than in its folder."""
    config, changed = validate(dataclasses.replace(config_of(folder), **changes), new=False), dict(changes)
    if steps not in (None, config.steps):
        config = prolonged(config, steps)
        changed |= {"steps": config.steps, "planned_steps": config.planned_steps}
    run = build(config)
    _refuse_uncompilable(config, terminal)
    if freeze_at not in (None, config.freeze.at):
        run.config = config = with_freeze_at(config, freeze_at, num_bytes=run.replay.num_bytes)
        run.freeze_rule = build_freeze_rule(config, run.agent, run.replay)
        freeze, replay = config.freeze, config.replay  # of a run of an older seer, which had fewer settings
        changed["freeze"] = {**folder.config["freeze"], "at": freeze.at, "latest": freeze.latest}
        changed["replay"] = {**folder.config["replay"], "memory": replay.memory}
    return run, changed


def _refuse_finished(folder: RunFolder, config: Config, steps: int | None) -> None:
    """Refuse to go on with a finished run, unless it is prolonged now or was about to be."""
    summary, path = read_summary(folder.path), folder.path
    if summary is None or steps not in (None, config.steps):
        return
    ended = summary.get("steps")
    if not isinstance(ended, int) or config.steps <= ended:
        raise SettingError(
            f"{path} is finished; seer resume {path} --steps N goes on past its {config.steps} steps, seer eval plays "
            f"its agent, seer train --from {path} starts a new run with it"
        )


def _prolong(run: TrainingState, events: Events, steps_before: int) -> None:
    """Go on past the end that a run had; a reset that was left out there, as it was the end, is made up for."""
    events.on_prolong(prolong(run, steps_before=steps_before))
    if run.step == steps_before:
        reset_if_due(run, events)


def _has_begun(folder: RunFolder) -> bool:
    """Tell whether anything was kept of a run; one that was cut off before that has an empty folder of checkpoints.

    A run makes that folder first: where it is missing, it was lost.
    """
    if not folder.checkpoints.is_dir() or complete_folders(folder.checkpoints):
        return True
    return (folder.path / METRICS_FILE).exists() and bool(read_metrics(folder.path))


def _refuse_uncompilable(config: Config, terminal: Terminal) -> None:
    """Raise SettingError where --compile is given and PyTorch can't compile, before hours depend on it."""
    if config.compile:
        terminal.say("trying PyTorch's compiler, which takes up to a minute the first time")
        try_compiler(pick_device(config.device))


def _adopt(run: TrainingState, terminal: Terminal) -> None:
    """Take the agent or the encoder of another run, or the weights of a module of one's own, if the settings say so."""
    config = run.config
    if config.freeze.agent_from is not None:
        (step, env), choice = adopt_agent(run.agent, config), config.freeze.choice
        encoder = "is frozen from the start" if choice.step == 0 else f"goes on learning ({choice})"
        too = " with its optimisers" * config.freeze.keep_optimizers
        terminal.say(
            f"starting with the agent of {config.freeze.agent_from}{too}, trained for {step:,} steps; its encoder "
            f"{encoder}, its exploration goes on where it stood"
        )
        if env != config.env:
            terminal.say(f"it was trained in {env}: an action keeps its number, whatever that means in {config.env}")
    if config.freeze.encoder_from is not None:
        step = adopt_encoder(run.agent, config)
        terminal.say(f"starting with the encoder of {config.freeze.encoder_from}, trained for {step:,} steps")
    if config.freeze.encoder_weights is not None:
        adopt_weights(run.agent, Path(config.freeze.encoder_weights))
    refuse_unfit(run.agent.online.encoder.stages, learns=config.freeze_step != 0)


def _load(run: TrainingState, checkpoint: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], Config]:
    """Bring a run to its checkpoint, and return the part of it that is its events', and the settings that it had then.

    `settings` are the run's, as `config.json` has them. A function of its own, so that nothing holds the
    checkpoint's mapped memory once it is copied.
    """
    state = load_checkpoint(checkpoint)
    with fitting(checkpoint):
        before = config_from_json(state["settings"])
        chosen_anew = freezes_otherwise(before, run.config)
        if chosen_anew:
            refuse_past_freeze(state["progress"], run.config.freeze.choice)
            state["freezing"]["decision"] = run.freeze_rule.state_dict()  # the new rule begins here
        refuse_other_settings(checkpoint, state["settings"], settings, but=CHOSEN_ANEW if chosen_anew else frozenset())
        if "replay" not in state:
            raise SettingError(
                f"checkpoint {checkpoint} was left by an earlier seer, which kept the agent alone of a finished run: "
                f"seer train --from {checkpoint.parents[1]} starts a new run with it"
            )
        run.load_state_dict(state)
        return state[EVENTS], before


def _refuse_full_disk(out: Path, run: TrainingState) -> None:
    """Raise SettingError where the checkpoints won't fit, before the first step and not after hours."""
    with writing_to(f"--out {out}", "choose another folder"):
        place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        free = shutil.disk_usage(place).free
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise SettingError(f"--out {out} can't be written (nothing can be made in {place}): choose another folder")
    needed = disk_bytes(run.config, run.agent, replay=run.replay.num_bytes, row=run.replay.row.num_bytes)
    if free < needed:
        raise SettingError(
            f"--out {out}: checkpoints take up to {human_bytes(needed)} and {human_bytes(free)} are free there; "
            "make room, choose another --out, or give less --replay-memory"
        )


def train_to_the_end(events: Events, checkpointer: Checkpointer, terminal: Terminal) -> None:
    """Train a run from where it stands; save and close it, however it ends."""
    run, folder = events.run, events.folder
    _introduce(run, terminal)
    with closing(run):
        stop = StopSignal(terminal.say)
        with listening(stop.request), terminal, _explaining(checkpointer):
            if checkpointer.last is None:
                checkpointer.save()  # so that there is always one to go on from
            with suppress(Interrupted), denormals_as_zero():
                train(run, events, checkpointer, stop)
                with events.stopwatch.paused():
                    checkpointer.save()  # at the end too: what a summary calls finished must have its agent
        if not run.finished:
            terminal.say(f"stopped at step {run.step:,}; go on with: seer resume {folder.path}")
            raise SystemExit(130)
        summary = events.summary()
        checkpointer.finish(summary)
    terminal.table(f"{summary['env']}, {summary['agent']}, seed {summary['seed']}", closing_table(summary))
    picture = plot_runs([folder.path], x="steps", out=folder.path / "learning_curve.png")
    terminal.say(f"learning curve: {picture}\nrun folder: {folder.path}")


def _introduce(run: TrainingState, terminal: Terminal) -> None:
    """Say what computes, what it takes, what draws, and what the agent sees and does."""
    config = run.config
    terminal.say(describe_computing(config))
    if run.budget is not None:
        most, replay = human_bytes(run.budget), human_bytes(run.replay.num_bytes)
        where = f", {replay} of it the replay's"
        if config.replay_on is not None:
            where = f"; the replay's {replay} are in a file in {config.replay_on}"
        terminal.say(f"Memory: at most {most}{where}")
    for line in (*encoder_lines(run), *run.environment.introduction()):
        terminal.say(line)
    if not run.environment.has_time_limit:
        terminal.say(
            f"warning: {config.env} has no time limit; where a game may never end, give --max-episode-steps, as an "
            f"evaluation stops the run after {LONGEST_GAME:,} steps of one game"
        )


@contextmanager
def _explaining(checkpointer: Checkpointer) -> Iterator[None]:
    """Make one line of what stops a run, with the step and the way on; the traceback is left in the folder."""
    try:
        yield
    except Exception as error:
        folder, step = checkpointer.folder.path, checkpointer.run.step
        what = f"stopped in step {step:,}: {error if isinstance(error, SettingError) else shortened(error)}"
        if checkpointer.folder.loss is not None:  # nothing is left to go on from
            raise SettingError(what) from error
        if checkpointer.last_step is not None and not isinstance(error, LearningError):
            what += f"; go on from step {checkpointer.last_step:,} with: seer resume {folder}"
        try:
            (folder / FAILURE_FILE).write_text(traceback.format_exc())
            what += f" (traceback: {folder / FAILURE_FILE})"
        except OSError:  # no room for it
            traceback.print_exc()
        raise SettingError(what) from error


def _new_folder(config: Config) -> Path:
    if config.out is not None:
        return Path(config.out)
    moment = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{re.sub('[/:]', '-', f'{config.env}-{config.agent}')}-{config.seed}-{moment}"
