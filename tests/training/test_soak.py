"""A long run after its freeze, with little work per step: memory and open files stay as they are."""

from pathlib import Path

import psutil
import pytest

import painted_run
from painted_run import CAPACITY, make_training
from seer.core.freeze_rules import FreezeAt
from seer.replay import Replay
from seer.runs.folder import Metrics, RunFolder
from seer.runs.terminal import Terminal
from seer.system_info import resident_bytes
from seer.training.journal import Journal
from seer.training.loop import train
from seer.training.state import TrainingState


class Measuring(Journal):
    """Notes the process's resident memory and open files at every log."""

    def log(self) -> None:
        super().log()
        self.resident = [*getattr(self, "resident", []), resident_bytes()]
        self.handles = [*getattr(self, "handles", []), psutil.Process().num_fds()]


def soak(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, steps: int, log_every: int
) -> tuple[TrainingState, Measuring]:
    schedule = painted_run.Schedule

    def longer(**options: object) -> object:
        return schedule(**(options | {  # type: ignore[arg-type]
            "steps": steps, "log_every": log_every, "checkpoint_every": steps // 10, "eval_every": steps // 8,
            "probe_every": steps // 20,
        }))  # fmt: skip

    monkeypatch.setattr(painted_run, "Schedule", longer)
    run = make_training(FreezeAt(40))
    with RunFolder.create(folder, {"env": "painted", "agent": "rainbow", "seed": 0}) as place:
        journal = Measuring(run, place, Metrics(folder), Terminal())
        with journal:
            train(run, journal)
        journal.metrics.close()
    return run, journal


def check_flat(run: TrainingState, journal: Measuring, *, most: float) -> None:
    """No more at the end than after the first fifth, when everything has happened once."""
    replay: Replay = run.replay
    assert replay.holds_latents
    assert replay.size == replay.capacity > CAPACITY // 2
    early = len(journal.resident) // 5
    assert max(journal.resident[-early:]) - max(journal.resident[: 2 * early]) < most
    assert max(journal.handles[-early:]) <= max(journal.handles[: 2 * early])
    assert len(list(journal.folder.checkpoints.glob("step-*"))) <= 2


def test_a_thousand_steps_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_flat(*soak(tmp_path / "run", monkeypatch, steps=1200, log_every=20), most=5e6)


@pytest.mark.torture
def test_three_hundred_thousand_steps_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, journal = soak(tmp_path / "run", monkeypatch, steps=300_000, log_every=1000)
    print([round(value / 1e6, 1) for value in journal.resident[::15]], journal.handles[::30])
    check_flat(run, journal, most=5e6)
