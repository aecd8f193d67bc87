"""Runs whose replay doesn't fit the memory that the system gives them."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from seer.runs.folder import read_summary

LIMIT = 2 << 30
FLAGS = (
    *("--env", "ALE/Pong-v5", "--steps", "150", "--freeze-at", "120", "--first-update", "60", "--batch-size", "8"),
    *("--hidden-units", "16", "--replay-memory", "2GB", "--eval-every", "150", "--eval-episodes", "1"),
    *("--max-episode-steps", "60", "--probe-size", "32", "--threads", "1", "--device", "cpu"),
)


def limited(*flags: object) -> subprocess.CompletedProcess[str]:
    """`seer train` in a process that gets so much memory for itself."""
    command = [sys.executable, "-m", "seer", "train", *map(str, flags)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)),
    )


@pytest.mark.slow
def test_a_run_in_less_memory_than_its_replay(tmp_path: Path, disk: Path) -> None:
    refused = limited(*FLAGS, "--out", tmp_path / "memory")
    assert refused.returncode == 2
    said = "seer: error: --replay-memory: the system gives no 2.00 GB of memory: give less, or a folder on a disk by"
    assert refused.stderr.startswith(said)
    assert refused.stderr.count("\n") == 1
    done = limited(*FLAGS, "--replay-on", disk, "--out", tmp_path / "file")
    assert done.returncode == 0, done.stderr
    summary = read_summary(tmp_path / "file")
    assert summary is not None
    assert summary["frozen_at"] == 120
    assert summary["peak_rss_bytes"] < 1_500_000_000
