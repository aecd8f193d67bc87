"""The page on trained agents: its blocks run as they stand, one after the other."""

import re
from pathlib import Path

import pytest

from kept_run import PONG, keep_run
from tiny_run import seer

PAGE = Path(__file__).parents[2] / "docs/trained_agents.md"


def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keep_run(tmp_path / "runs/pong", "rainbow", *PONG)
    assert seer("card", "runs/pong", "--out", "pong") == 0
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert names["over"] is True
    assert names["observation"].shape == (4, 1, 44, 44)  # type: ignore[attr-defined]
