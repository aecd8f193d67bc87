"""What each command does, from a config or a run folder to the last printed line."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from seer.build import (
    PARALLEL_GAMES,
    build,
    build_agent,
    build_environment,
    build_evaluator,
    build_schedule,
    pick_device,
    replay_bytes,
)
from seer.config import Config, config_from_json, config_to_json
from seer.environments.rendering import choose_backend
from seer.errors import SettingError
from seer.experiments.plots import plot_runs
from seer.experiments.tables import flops_table, memory_table
from seer.phase import Phase
from seer.presets import CONTROL
from seer.replay import RowFormat
from seer.training.checkpoint import latest_checkpoint, load_checkpoint
from seer.training.journal import Journal
from seer.training.loop import train
from seer.training.parts import Training
from seer.training.run import CONFIG_FILE, SUMMARY_FILE, Metrics, RunFolder
from seer.training.terminal import Terminal
from seer.training.video import recording
from seer.transfer import adopt_encoder
from seer.validation import validate


def start_run(config: Config) -> None:
    """Train from the first step, in a new folder."""
    run = build(config)
    terminal = Terminal()
    if config.freeze.encoder_from is not None:
        step = adopt_encoder(run.agent, config)
        terminal.say(f"starting with the encoder of {config.freeze.encoder_from}, trained for {step:,} steps")
    with RunFolder.create(_new_folder(config), config_to_json(config)) as folder, _metrics(folder) as metrics:
        _train_to_the_end(Journal(run, folder, metrics, terminal))


def resume_run(path: Path) -> None:
    """Train on from the last checkpoint."""
    with RunFolder.open(path, writing=True) as folder:
        if (path / SUMMARY_FILE).exists():
            raise SettingError(f"{path} is finished; seer eval plays its agent, seer train starts a new run")
        run = build(_config_of(folder))
        figures = _load(run, latest_checkpoint(folder.checkpoints))
        with _metrics(folder) as metrics:
            journal = Journal(run, folder, metrics, Terminal())
            journal.load_state_dict(figures)
            journal.terminal.say(f"resuming {path} at step {run.step:,}")
            _train_to_the_end(journal)


def evaluate_run(path: Path, *, episodes: int, seed: int, video: Path | None) -> None:
    """Play whole games with the agent of the last checkpoint; record the first one if asked to."""
    if episodes < 1:
        raise SettingError(f"--episodes {episodes} must be 1 or more")
    folder = RunFolder.open(path)
    config = _config_of(folder)
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, pick_device(config.device), seeds=[0, 0, 0, 0])
    checkpoint = latest_checkpoint(folder.checkpoints)
    state = load_checkpoint(checkpoint)
    with _fitting(checkpoint):
        agent.load_state_dict(state["agent"])
    evaluator = build_evaluator(config, games=min(episodes, PARALLEL_GAMES), seed=seed)
    with recording(video, frames_per_second=environment.metadata["render_fps"]) as watch:
        evaluation = evaluator(agent, episodes=episodes, step=0, watch=watch)
    terminal = Terminal()
    terminal.table(
        f"{config.env}, {config.agent}, {checkpoint.name}",
        {
            "score": f"{evaluation.mean:,.1f} ± {evaluation.std:,.1f}",
            "scores": ", ".join(f"{score:,.0f}" for score in evaluation.returns),
            "steps": ", ".join(f"{length:,}" for length in evaluation.lengths),
        },
    )
    if video is not None:
        terminal.say(f"wrote {video}")


def print_flops(config: Config) -> None:
    """Print what a step costs before and after the freeze."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0])
    frame = RowFormat(environment.frame_shape, torch.uint8)
    table = flops_table(
        config.env,
        agent.cost,
        updates=config.learning.updates_per_step,
        steps=config.steps,
        first_update=build_schedule(config).first_update,
        frozen_at=config.freeze_step,
        capacity=replay_bytes(config, frame) // frame.num_bytes,
        after=Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=agent.latent.num_bytes),
    )
    Console().print(table)


def print_memory(config: Config) -> None:
    """Print what the replay holds before and after the freeze."""
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0])
    frame = RowFormat(environment.frame_shape, torch.uint8)
    table = memory_table(config.env, num_bytes=replay_bytes(config, frame), frame=frame, latent=agent.latent)
    Console().print(table)


def _metrics(folder: RunFolder) -> closing[Metrics]:
    return closing(Metrics(folder.path))


def _load(run: Training, checkpoint: Path) -> dict[str, Any]:
    """Bring a run to its checkpoint; returns the journal's part of it.

    A function of its own, so that nothing holds the checkpoint's mapped memory once it is copied.
    """
    state = load_checkpoint(checkpoint)
    with _fitting(checkpoint):
        run.load_state_dict(state)
        return state["journal"]


@contextmanager
def _fitting(checkpoint: Path) -> Iterator[None]:
    """A checkpoint that is whole but of another run than `config.json` is the user's to put right."""
    try:
        yield
    except SettingError:
        raise
    except (KeyError, RuntimeError, ValueError) as error:
        raise SettingError(
            f"checkpoint {checkpoint} is foreign: it doesn't fit config.json ({' '.join(str(error).split())}); "
            "restore the one or the other, or start a new run"
        ) from error


def _train_to_the_end(journal: Journal) -> None:
    run = journal.run
    if journal.folder.config["env"].startswith(CONTROL):
        journal.terminal.say(str(choose_backend()))
    with journal:
        train(run, journal)
        if run.step < run.schedule.steps:
            with journal.paused():
                journal.checkpoint()
    folder = journal.folder.path
    if run.step < run.schedule.steps:
        journal.terminal.say(f"stopped at step {run.step:,}; go on with: seer resume {folder}")
        raise SystemExit(130)
    journal.finish()
    picture = plot_runs([folder], x="steps", out=folder / "learning_curve.png")
    journal.terminal.say(f"learning curve: {picture}\nrun folder: {folder}")


def _config_of(folder: RunFolder) -> Config:
    try:
        return validate(config_from_json(folder.config))
    except (TypeError, AttributeError) as error:
        raise SettingError(
            f"{folder.path / CONFIG_FILE} holds a setting of the wrong type ({error}): restore it, or start a new run"
        ) from error


def _new_folder(config: Config) -> Path:
    if config.out is not None:
        return Path(config.out)
    moment = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{config.env.replace('/', '-')}-{config.agent}-{config.seed}-{moment}"
