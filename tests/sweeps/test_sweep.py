"""Sweeps on this machine: real short trainings that die in every way and go on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from seer.config import config_to_json
from seer.runs.checkpoints import latest_checkpoint
from seer.runs.folder import RunFolder
from seer.sweeps.grid import read_grid
from seer.sweeps.manifest import Manifest
from seer.sweeps.trial import state_of
from tiny_run import files, seer
from tiny_sweep import STEPS, has_checkpoint, is_finished, steps_of, write_grid

Capture = pytest.CaptureFixture[str]


TIMEOUT = 900  # seconds: only what hangs takes that long, on a machine however busy


def start_sweep(grid: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "seer", "sweep", str(grid), "--out", str(out), "--no-measure", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def training_process(out: Path, name: str) -> int:
    """The process that trains a run of this sweep."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "seer.worker" in words and str(out / "runs" / name) in words:
            return int(entry.parent.name)
    raise AssertionError(f"nothing trains {name}")


def leave_a_dead_run(folder: Path, grid: Path) -> None:
    """What the training of the grid's run of this name leaves when it is killed in its first checkpoint."""
    (trial,) = (trial for trial in read_grid(grid).trials() if trial.name == folder.name)
    with RunFolder.create(folder, config_to_json(trial.config)):
        (folder / "metrics.jsonl").touch()
        (folder / "checkpoints" / ".writing-step-000000000").mkdir()


STARTS_AND_WAITS = """
import os, subprocess, sys
waits = "import os, time, seer.signals; seer.signals.stop_with(%d); print(os.getpid(), flush=True); time.sleep(600)"
subprocess.run([sys.executable, "-c", waits % os.getpid()])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a training outlives its sweep elsewhere")
def test_a_training_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        command = int(starter.stdout.readline())
        assert not is_gone(command)
        starter.kill()
        wait_until(lambda: is_gone(command))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a training outlives its sweep elsewhere")
def test_a_sweep_survives_sigkill_and_its_trainings_do_not(tmp_path: Path, capsys: Capture) -> None:
    """Killed in the middle of a run, started again: it goes on, and repeats nothing; then there is nothing to do.

    The other run died before its first checkpoint: it goes on from its first step.
    """
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    first = out / "runs" / "Alien-seer-0"
    leave_a_dead_run(out / "runs" / "Alien-never-0", grid)
    sweep = start_sweep(grid, out, "--jobs", "1")
    wait_until(lambda: has_checkpoint(first))
    training = training_process(out, "Alien-seer-0")
    sweep.kill()
    sweep.communicate()
    wait_until(lambda: is_gone(training))
    assert not is_finished(first)
    again = start_sweep(grid, out, "--jobs", "1")
    said, _ = again.communicate(timeout=TIMEOUT)
    assert again.returncode == 0, said
    assert re.match(r"2 runs, 2 to go, 1 at a time here: \S+ FLOPs; at most \S+ MB of memory", said)  # before it trains
    for name in ("Alien-seer-0", "Alien-never-0"):
        assert f"{name}: goes on" in said
        assert steps_of(out / "runs" / name) == list(range(20, STEPS + 1, 20))
        assert not list((out / "runs" / name).glob("checkpoints/.*"))
    before = files(out / "runs")
    assert seer("sweep", grid, "--out", out, "--no-measure") == 0
    assert "2 of 2 runs finished" in capsys.readouterr().out
    assert files(out / "runs") == before


def sweep_until(condition: Callable[[], bool], then: Callable[[], None], *arguments: object) -> int:
    """The exit code of `seer sweep` in this process; another thread does `then` once the condition holds."""

    def interfere() -> None:
        wait_until(condition)
        then()

    with ThreadPoolExecutor(max_workers=1) as other:
        interfering = other.submit(interfere)
        code = seer("sweep", *arguments, "--jobs", "1", "--no-measure")
        interfering.result()
    return code


@pytest.mark.slow  # two trainings in five processes; outcomes of trials are tested in test_runner.py
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_trials_that_die_or_fail(tmp_path: Path, capsys: Capture) -> None:
    """One training is killed and goes on; one can't load its checkpoint and is listed; Ctrl-C leaves all resumable."""
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    broken, killed = out / "runs" / "Alien-seer-0", out / "runs" / "Alien-never-0"

    def press_ctrl_c() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert sweep_until(lambda: has_checkpoint(broken), press_ctrl_c, grid, "--out", out) == 130
    assert "2 stopped; the same command goes on with them" in capsys.readouterr().out
    assert state_of(broken) == "resumable"
    assert state_of(killed) == "new"
    (damaged,) = latest_checkpoint(broken / "checkpoints").glob("agent.*")
    damaged.write_bytes(damaged.read_bytes()[:-1])

    def kill() -> None:
        os.kill(training_process(out, "Alien-never-0"), signal.SIGKILL)

    assert sweep_until(lambda: has_checkpoint(killed), kill, grid, "--out", out) == 1
    said = capsys.readouterr().out
    assert "Alien-never-0: killed by SIGKILL; the machine may be out of memory; going on" in said
    assert re.search(
        r"failed: Alien-seer-0: checkpoint file .* is damaged: .*\(exit code 2, .*Alien-seer-0\.log\)", said
    )
    assert "1 of 2 runs finished" in said
    assert steps_of(killed) == list(range(20, STEPS + 1, 20))
    assert Manifest.read(out / "sweep.json").failures.keys() == {"Alien-seer-0"}


@pytest.mark.slow
def test_more_seeds_extend_a_sweep_and_train_nothing_again(tmp_path: Path, capsys: Capture) -> None:
    grid, out = write_grid(tmp_path, seeds=1), tmp_path / "sweep"
    flags = ("--freeze-at", "never", "--no-measure", "--out", out)
    assert seer("sweep", grid, *flags) == 0
    before = files(out / "runs")
    capsys.readouterr()
    assert seer("sweep", grid, *flags, "--seeds", 2) == 0
    assert re.match(r"2 runs, 1 to go, ", capsys.readouterr().out)
    assert before.items() <= files(out / "runs").items()
    assert [(each.variant, each.seed) for each in Manifest.read(out / "sweep.json").trials] == [
        ("never", 0),
        ("never", 1),
    ]
    assert steps_of(out / "runs" / "Alien-never-1") == list(range(20, STEPS + 1, 20))
