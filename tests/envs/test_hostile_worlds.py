"""Environments and losses that go wrong: the run stops with the step, the cause, and a checkpoint from before it."""

import contextlib
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

import painted_run
from painted import Episode, PaintedEnvironment
from painted_run import make_training
from seer import trainer
from seer.config import Config, config_to_json
from seer.core.freeze_rules import FreezeAt
from seer.envs.base import Drawing, Info
from seer.errors import LearningError, SettingError
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import RunFolder, read_metrics
from seer.runs.logger import run_logger
from seer.runs.terminal import Terminal
from seer.training import evaluation
from seer.training.events import Events
from seer.training.saving import Checkpointer
from seer.training.state import TrainingState
from tiny_run import FLAGS, seer, stop_in_step

STEP = 70  # where it goes wrong; checkpoints are at 0 and 60


class World(PaintedEnvironment):
    """Behaves, but for one step or reset."""

    def __init__(self, fault: str) -> None:
        super().__init__(
            episodes=painted_run.EPISODES,
            frame_shape=painted_run.FRAME_SHAPE,
            stack=painted_run.STACK,
            num_actions=3,
        )
        self.fault, self.calls = fault, 0

    def _begin(self, seed: int | None) -> tuple[Drawing, Info]:
        if self.calls >= STEP and self.fault == "hangs":
            time.sleep(60)
        return super()._begin(seed)

    def _advance(self, action: Any) -> tuple[Drawing, float, bool, bool, Info]:
        self.calls += 1
        frame, reward, terminated, truncated, info = super()._advance(action)
        if self.calls == STEP:
            match self.fault:
                case "raises":
                    raise KeyError("joystick\nunplugged")
                case "nan":
                    reward = float("nan")
                case "huge":
                    reward = 1e39
                case "text":
                    reward = "much"  # type: ignore[assignment]
                case "shape":
                    frame = frame[:, :-1]
                case "dtype":
                    frame = frame.astype(np.float32)
                case "none":
                    frame = None
        return frame, reward, terminated, truncated, info


@pytest.fixture
def start(tmp_path: Path) -> Callable[[TrainingState], Events]:
    """Train a run as `seer train` does, with a checkpoint every 60 steps; returns its events."""
    path = tmp_path / "run"
    config = config_to_json(Config(env="ALE/Pong-v5"))

    def train(run: TrainingState) -> Events:
        object.__setattr__(run.config, "checkpoint_every", 60)
        terminal = Terminal()
        with RunFolder.create(path, config) as folder, run_logger(folder, terminal) as logger:
            events = Events(run, folder, logger)
            trainer.train_to_the_end(events, Checkpointer(run, folder, events), terminal)
        return events

    return train


def stops(start: Callable[[TrainingState], Events], run: TrainingState, tmp_path: Path) -> str:
    """The line with which a run stops, having saved only what is right."""
    with pytest.raises(SettingError) as caught:
        start(run)
    line = str(caught.value)
    assert "\n" not in line
    assert f"stopped in step {run.step}" in line
    saved = latest_checkpoint(tmp_path / "run" / "checkpoints")
    state = load_checkpoint(saved)
    assert state["progress"]["step"] == int(saved.name.rpartition("-")[2]) < run.step
    way_on = f"; go on from step {state['progress']['step']} with: seer resume {tmp_path / 'run'}"
    assert (way_on in line) != isinstance(caught.value.__cause__, LearningError)  # that would come again
    for weights in state["agent"]["modules"].values():
        assert all(bool(torch.isfinite(weight).all()) for weight in weights.values())
    assert "Traceback" in (tmp_path / "run" / "failure.txt").read_text()
    assert all(record["step"] <= run.step for record in read_metrics(tmp_path / "run"))
    return line


def test_a_folder_deleted_under_the_run_stops_it(start: Callable[[TrainingState], Events], tmp_path: Path) -> None:
    """Within a checkpoint's time, without a word of going on from what is lost."""
    run = make_training(FreezeAt(40))
    advance, seen = run.environment._advance, []

    def delete(action: Any) -> Any:
        seen.append(action)
        if len(seen) == 20:
            shutil.rmtree(tmp_path / "run")
        return advance(action)

    run.environment._advance = delete  # type: ignore[method-assign]
    with pytest.raises(SettingError, match=r"config\.json is gone: something deleted it") as caught:
        start(run)
    assert "seer resume" not in str(caught.value)
    assert len(seen) < 70


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "the environment failed in step: KeyError: 'joystick\\nunplugged'"),
        ("nan", "the environment failed in step: its reward is nan"),
        ("huge", "the environment failed in step: its reward is 1e+39, beyond 1e+15, which can't be learnt: scale it"),
        ("text", "the environment failed in step: TypeError"),
        ("shape", "the environment failed in drawing: its frame is uint8"),
        ("dtype", "the environment failed in drawing: its frame is float32"),
        ("none", "the environment failed in step: it shows no frame"),
        ("hangs", "the environment failed in reset: it took longer than 0.2 seconds (--env-timeout)"),
    ],
)
def test_a_world_that_breaks_stops_the_run(
    fault: str, said: str, start: Callable[[TrainingState], Events], tmp_path: Path
) -> None:
    run = make_training(FreezeAt(40))
    run.environment = World(fault)
    run.environment.time_limit = 0.2 if fault == "hangs" else 30  # on a busy machine any step may take as long
    run.environment.reset(seed=0)
    assert said in stops(start, run, tmp_path)
    assert run.step in range(STEP, STEP + 12)


@pytest.mark.parametrize("episode", [Episode(1), Episode(1, truncated=True), Episode(10**9)], ids=str)
def test_episodes_of_one_step_or_without_end_are_learnt_from(
    episode: Episode, start: Callable[[TrainingState], Events], tmp_path: Path
) -> None:
    run = make_training(FreezeAt(40))
    run.environment.episodes = (episode,)  # type: ignore[attr-defined]
    run.environment.reset(seed=0)
    object.__setattr__(run.config, "steps", 90)
    events = start(run)
    assert run.finished
    assert events.stopwatch.updates["after"] > 0
    assert len([record for record in read_metrics(tmp_path / "run") if record["kind"] == "episode"]) in (0, 1, 90)


def test_an_evaluation_without_end_stops_the_run(
    start: Callable[[TrainingState], Events], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "LONGEST_GAME", 500)
    run = make_training(FreezeAt(40))
    run.evaluator.environments[0].episodes = (Episode(10**9),)  # type: ignore[attr-defined]
    object.__setattr__(run.config, "eval_every", 65)
    line = stops(start, run, tmp_path)
    assert "a game of the evaluation hasn't ended after 501 steps: begin anew with --max-episode-steps" in line


def test_what_nobody_foresaw_stops_the_run_in_one_line(
    start: Callable[[TrainingState], Events], tmp_path: Path
) -> None:
    run = make_training(FreezeAt(40))
    update = run.agent.update

    def full(batch: Any) -> Any:
        if run.step == STEP:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 MiB")
        return update(batch)

    with patch.object(run.agent, "update", full):
        line = stops(start, run, tmp_path)
    assert "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB; go on from step" in line


@pytest.mark.parametrize("device_waits", [True, False])
def test_losses_that_are_no_numbers_stop_the_run(
    device_waits: bool, start: Callable[[TrainingState], Events], tmp_path: Path
) -> None:
    """Whether the update is looked at once (it gives priorities) or in the next step."""
    run = make_training(FreezeAt(40))
    update = run.agent.update

    def poisoned(batch: Any) -> Any:
        if run.step == STEP:
            with torch.no_grad():
                next(iter(run.agent.online.head.parameters())).fill_(float("nan"))
        result = update(batch)
        return result if device_waits else type(result)(result.metrics, priority=None)

    with patch.object(run.agent, "update", poisoned):
        line = stops(start, run, tmp_path)
    assert f"in the update of step {STEP} loss is nan" in line
    assert "begin anew with a lower --learning-rate" in line
    assert run.step == STEP if device_waits else STEP + 1


# Invariants ----------------------------------------------------------------------------------------------------------


def frozen_run(
    start: Callable[[TrainingState], Events], meddle: Callable[[TrainingState], None], tmp_path: Path
) -> str:
    run = make_training(FreezeAt(40))
    learn = run.agent.update

    def update(batch: Any) -> Any:
        if run.step == STEP:
            meddle(run)
        return learn(batch)

    with patch.object(run.agent, "update", update):
        return stops(start, run, tmp_path)


def test_a_frozen_layer_that_moves_is_noticed(start: Callable[[TrainingState], Events], tmp_path: Path) -> None:
    def move(run: TrainingState) -> None:
        with torch.no_grad():
            run.agent.online.encoder.base_parameters()[0][0, 0, 0, 0] += 1e-6

    assert "isn't what it was at the freeze" in frozen_run(start, move, tmp_path)


def test_a_frozen_layer_that_could_learn_is_noticed(start: Callable[[TrainingState], Events], tmp_path: Path) -> None:
    def thaw(run: TrainingState) -> None:
        run.agent.online.encoder.base_parameters()[0].requires_grad_(True)

    assert "can learn" in frozen_run(start, thaw, tmp_path)


def test_a_phase_that_disagrees_with_the_replay_is_noticed(
    start: Callable[[TrainingState], Events], tmp_path: Path
) -> None:
    def forget(run: TrainingState) -> None:
        run.frozen_at = None

    assert "a fault of seer" in frozen_run(start, forget, tmp_path)


# Full disks ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """The system's own limit on the size of files stands in for a full disk: the same calls fail or fall short."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def complaint(capsys: pytest.CaptureFixture[str], limit: int, *arguments: object) -> str:
    """The one line of a command that finds no room for files of more than `limit` bytes."""
    capsys.readouterr()
    with small_files(limit):
        assert seer(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_full_disk_is_one_line_and_the_run_can_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First no checkpoint fits; then all but the metrics' last lines do."""
    folder = tmp_path / "run"
    flags = (*FLAGS, "--checkpoint-every", 100, "--steps", 800, "--log-every", 5, "--out", folder)
    assert "can't be written" in complaint(capsys, 3_000, "train", *flags)

    assert stop_in_step(250, "train", *flags[:-1], tmp_path / "second", signal=signal.SIGTERM) == 130
    folder = tmp_path / "second"
    whole = read_metrics(folder)
    size = (folder / "metrics.jsonl").stat().st_size
    line = complaint(capsys, size + 700, "resume", folder)
    assert "metrics.jsonl can't be written" in line
    assert "seer resume" in line
    assert read_metrics(folder)[: len(whole)] == whole
    assert stop_in_step(300, "resume", folder, signal=signal.SIGTERM) == 130
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000300"
