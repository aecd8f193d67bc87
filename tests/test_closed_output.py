"""Nobody at the other end: a reader that leaves, a terminal that closes."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seer.signals import stop_signals
from tiny_run import FLAGS, seer

SEER = [sys.executable, "-m", "seer"]


def train(folder: Path) -> list[str]:
    short = ("--steps", 160, "--first-update", 60, "--freeze-at", 120, "--eval-every", 160, "--max-episode-steps", 50)
    return [*SEER, "train", *map(str, (*FLAGS, *short)), "--out", str(folder)]


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGHUP, as where the tests themselves don't run under nohup; processes inherit it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_reader_that_leaves_costs_no_training(tmp_path: Path) -> None:
    """As with `seer train ... | head -1`: the run goes on to its end and writes down everything."""
    with subprocess.Popen(train(tmp_path / "run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(300) == 0
        assert process.stderr.read() == b""
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["frozen_at"] == 120


def test_help_without_a_reader_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*SEER, "train", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=100)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("heard")
def test_a_closed_terminal_saves_the_run(tmp_path: Path) -> None:
    """The kernel sends SIGHUP to all that ran there, and no more can be written to it."""
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        train(tmp_path / "run"), stdin=inside, stdout=inside, stderr=inside, start_new_session=True
    ) as process:
        os.close(inside)
        seen = b""
        while b"training" not in seen:
            seen += os.read(terminal, 4096)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)  # without a controlling terminal the kernel sends none
        assert process.wait(300) == 130
    assert seer("resume", tmp_path / "run") == 0
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.usefixtures("heard")
def test_nohup_is_respected() -> None:
    assert signal.SIGHUP in stop_signals()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in stop_signals()
