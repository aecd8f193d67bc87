"""A long run after its freeze, with little work per step: memory and open files stay as they are."""

from pathlib import Path

import psutil
import pytest

from painted_run import CAPACITY, make_training
from seer.core.freeze_rules import FreezeAt
from seer.presets import change
from seer.replay import Replay
from seer.runs.folder import RunFolder
from seer.runs.logger import run_logger
from seer.runs.terminal import Terminal
from seer.signals import StopSignal
from seer.system_info import resident_bytes
from seer.training.events import Events
from seer.training.loop import train
from seer.training.saving import Checkpointer
from seer.training.state import TrainingState


class Measuring(Events):
    """Notes the process's resident memory and open files at every log."""

    def on_log(self) -> None:
        super().on_log()
        self.resident = [*getattr(self, "resident", []), resident_bytes()]
        self.handles = [*getattr(self, "handles", []), psutil.Process().num_fds()]


def soak(folder: Path, *, steps: int, log_every: int) -> tuple[TrainingState, Measuring]:
    run = make_training(FreezeAt(40), steps=steps)
    often = {"log_every": log_every, "checkpoint_every": steps // 10, "eval_every": steps // 8}
    run.config = change(run.config, {**often, "freeze.probe_every": steps // 20})
    config = {"env": "painted", "agent": "rainbow", "seed": 0}
    with RunFolder.create(folder, config) as place, run_logger(place, Terminal()) as logger:
        events = Measuring(run, place, logger)
        train(run, events, Checkpointer(run, place, events), StopSignal(print))
    return run, events


def check_flat(run: TrainingState, events: Measuring, *, most: float) -> None:
    """No more at the end than after the first fifth, when everything has happened once."""
    replay: Replay = run.replay
    assert replay.holds_latents
    assert replay.size == replay.capacity > CAPACITY // 2
    early = len(events.resident) // 5
    assert max(events.resident[-early:]) - max(events.resident[: 2 * early]) < most
    assert max(events.handles[-early:]) <= max(events.handles[: 2 * early])
    assert len(list(events.folder.checkpoints.glob("step-*"))) <= 2


def test_seven_hundred_steps_take_no_memory(tmp_path: Path) -> None:
    check_flat(*soak(tmp_path / "run", steps=700, log_every=14), most=5e6)


@pytest.mark.torture
def test_three_hundred_thousand_steps_take_no_memory(tmp_path: Path) -> None:
    run, events = soak(tmp_path / "run", steps=300_000, log_every=1000)
    print([round(value / 1e6, 1) for value in events.resident[::15]], events.handles[::30])
    check_flat(run, events, most=5e6)
