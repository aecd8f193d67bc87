"""benchmarks/replay_on_disk.py: the file held to a quarter of its bytes gives what memory gives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import replay_on_disk


@pytest.mark.slow
def test_a_replay_of_four_times_the_memory_allowed(tmp_path: Path, disk: Path) -> None:
    """The script itself fails where batches differ, or where the limit held nothing."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, replay_on_disk.__file__, "--on", disk, "--allowed", "100MB", "--json", figures]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(figures.read_text())["replays"]
    assert found["file"]["most_resident"] < 100_000_000
    assert found["memory"]["most_resident"] > 390_000_000
    for each in found.values():
        assert 399_000_000 < each["first_checkpoint"]["bytes"] < 402_000_000
        rows = replay_on_disk.NEW_ROWS * 30_000
        assert rows < each["next_checkpoint"]["bytes"] < rows + 3 * 17_000_000  # pieces that it shares with older rows
    assert "all batches are the same to the last bit" in printed
