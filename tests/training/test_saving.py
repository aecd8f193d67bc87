"""Checkpoints of a run, and the agent that it leaves."""

from pathlib import Path
from typing import Any

import pytest

from seer.errors import SettingError
from seer.runs.checkpoints import latest_checkpoint
from seer.training import saving
from tiny_run import FLAGS, seer


def test_a_run_that_is_called_finished_has_its_last_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up behind the summary, where only the agent's checkpoint is left to write."""
    folder, save = tmp_path / "run", saving.save_checkpoint

    def full(root: Path, step: int, parts: Any, *, keep: int = 2, before: Path | None = None) -> Path:
        if keep == 1:
            raise SettingError("no space")
        return save(root, step, parts, before=before)

    monkeypatch.setattr(saving, "save_checkpoint", full)
    flags = ("--steps", 150, "--freeze-at", 100, "--first-update", 50, "--eval-every", 150, "--max-episode-steps", 40)
    assert seer("train", *FLAGS, *flags, "--out", folder) == 2
    assert (folder / "summary.json").exists()
    assert latest_checkpoint(folder / "checkpoints").name == "step-000000150"
