"""Settings for every test."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from made_once import made_once
from seer.replay.file_block import IN_MEMORY, file_system
from tiny_run import FLAGS, SHORT_FLAGS, SHORT_STEPS, seer, stop_in_step

os.environ["MPLBACKEND"] = "Agg"  # figures are written to files; no test needs a screen
torch.set_num_threads(1)  # small tensors: threads cost more than they give, and sums stay repeatable

# Time limits on single examples fail on a busy machine. In CI every run draws the same examples.
settings.register_profile("few", deadline=None, derandomize="CI" in os.environ, max_examples=25)
settings.register_profile("many", settings.get_profile("few"), max_examples=300)


def pytest_configure(config: pytest.Config) -> None:
    """Draw more examples in make test-all, which chooses tests by no mark."""
    settings.load_profile("few" if config.option.markexpr else "many")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run on Pong, from its first step to its last; tests only read it."""
    return made_once(tmp_path_factory, "finished", lambda out: seer("train", *FLAGS, "--out", out, draws=True) == 0)


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a few steps on Pong, finished without its replay; tests only read it."""
    flags = (*SHORT_FLAGS, "--steps", SHORT_STEPS)
    return made_once(tmp_path_factory, "short", lambda out: seer("train", *flags, "--out", out) == 0)


@pytest.fixture(scope="session")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run with short games, stopped by SIGTERM in step 30; tests only read it."""

    def train(out: Path) -> bool:
        flags = (*FLAGS, "--max-episode-steps", 150)
        return stop_in_step(30, "train", *flags, "--out", out, signal=signal.SIGTERM) == 130

    return made_once(tmp_path_factory, "stopped", train)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk, where temporary files may be in memory."""
    if file_system(tmp_path) not in IN_MEMORY:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test run in a folder with nothing in it."""
    monkeypatch.chdir(tmp_path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what test_installation.py found out: pip's choices differ from day to day."""
    passed = terminalreporter.stats.get("passed", [])
    rows = [row for report in passed for name, row in report.user_properties if name == "installation"]
    if rows:
        terminalreporter.section("the wheel in new environments: seconds to install + to run")
        for row in rows:
            terminalreporter.line(" | ".join(row.values()))
