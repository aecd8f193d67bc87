"""What a run says, as it stands on the screen."""

import io

import pytest
from rich.console import Console

from seer.runs.terminal import Terminal, closing_table


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_brackets_are_said_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=80)
    Terminal(console).say("pip install 'seer-rl[bench]'")
    assert console.file.getvalue() == "pip install 'seer-rl[bench]'\n"  # type: ignore[attr-defined]


def test_a_notebook_keeps_every_redrawn_bar_so_it_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Screen())
    assert Terminal().console.is_terminal
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not Terminal().console.is_terminal


def test_a_run_that_was_never_frozen_shows_no_saving() -> None:
    summary = {
        "frozen_at": None,
        "freeze": {"step": None, "mode": "auto", "reason": "features still change", "similarity": 0.9},
        "flops": {"total": 2e9, "baseline": 2e9, "per_step_before": 3e6, "per_step_after": 1e6},
        "replay": {"bytes": 10, "row_bytes_before": 1, "row_bytes_after": 1, "capacity_before": 1, "capacity_after": 1},
        "updates_per_second": {"before": 5.0, "after": None},
        "evaluation": [{"mean": 1.0, "std": 0.0, "episodes": 1, "step": 9}],
        "peak_rss_bytes": 1,
        "wall_seconds": 60.0,
    }
    table = closing_table(summary)
    assert (table["FLOPs"], table["FLOPs per step"]) == ("2e+09", "3e+06")
    assert table["encoder frozen"] == "never: features still change"
    own = closing_table(summary | {"freeze": {"mode": "mine:Rule", "reason": "loss still falls"}})
    assert own["encoder frozen"] == "never: loss still falls"
    unasked = closing_table(summary | {"freeze": {"mode": "never", "reason": "not asked for"}})
    assert unasked["encoder frozen"] == "never"
    frozen = closing_table(summary | {"frozen_at": 5, "flops": summary["flops"] | {"total": 1e9}})  # type: ignore[operator]
    dearer = closing_table(summary | {"frozen_at": 5, "flops": summary["flops"] | {"total": 2.2e9}})  # type: ignore[operator]
    assert dearer["FLOPs"] == "2.2e+09, 10% more than without a freeze"
    assert "normalised" not in table
    known = closing_table(summary | {"env": "ALE/Pong-v5", "normalized_score": 0.61234})
    assert known["normalised"] == "0.612 (0 a random agent's, 1 a human's)"
    assert (frozen["FLOPs"], frozen["FLOPs per step"]) == ("1e+09, 50% less than without a freeze", "3e+06 -> 1e+06")
