"""`seer memory --measure` on a real game: resident bytes against what the arrays must take."""

import re

import pytest

from tiny_run import seer


def test_measured_bytes_are_those_of_the_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert seer("memory", "--env", "ALE/Pong-v5", "--measure", "--replay-capacity", "800", "--threads", "1") == 0
    rows = re.findall(r"│ (\S.*?) +│ +([\d,]+) │ +([\d.]+) │ +([\d.]+) │", capsys.readouterr().out)
    found = {name: int(count.replace(",", "")) for name, count, *_ in rows}
    expected = {"seer, frames": 7056, "seer, latents, float32": 2304, "seer, latents, int8": 576}
    if "Stable-Baselines3" in found:
        expected |= {"Stable-Baselines3": 56_448, "Stable-Baselines3, optimize_memory_usage": 28_224}
    for name, count in expected.items():
        assert 0.85 * count <= found[name] <= 1.15 * count + 600, name
    assert all(float(milliseconds) > 0 for *_, milliseconds in rows)
