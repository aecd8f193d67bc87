"""`seer memory --measure` on a real game: resident bytes against what the arrays must take."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seer.bench.ledger import _compressed
from seer.bench.subject import Step
from tiny_run import seer


def test_measured_bytes_are_those_of_the_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert seer("memory", "--env", "ALE/Pong-v5", "--measure", "--replay-capacity", "800", "--threads", "1") == 0
    rows = re.findall(r"│ (\S.*?) +│ +(-?[\d,]+) │ +(-?[\d.]+) │ +([\d.]+) │", capsys.readouterr().out)
    found = {name: int(count.replace(",", "")) for name, count, *_ in rows}
    expected = {"seer, frames": 7056, "seer, latents, float32": 2304, "seer, latents, int8": 576}
    if "Stable-Baselines3" in found:
        expected |= {"Stable-Baselines3": 56_448, "Stable-Baselines3, optimize_memory_usage": 28_224}
    if "frames, each compressed, zstd 3" in found:
        assert found["frames, each compressed, zstd 3"] < 0.1 * 7056  # a ball, two paddles
    for name, count in expected.items():
        assert 0.85 * count <= found[name] <= 1.15 * count + 600, name
    assert all(float(milliseconds) > 0 for *_, milliseconds in rows)


def test_compressed_frames_come_back_as_they_were() -> None:
    pytest.importorskip("zstd")
    frames = np.random.default_rng(0).integers(0, 4, (20, 1, 6, 6), np.uint8)
    environment: Any = SimpleNamespace(frame_shape=(1, 6, 6), stack=3)
    filled = _compressed(environment, 50, [Step(frame, 1, float(at), False) for at, frame in enumerate(frames)])
    stacks, others = filled.sample()  # type: ignore[misc]
    assert filled.steps == 20
    assert stacks.shape == (50, 4, 1, 6, 6)
    for stack, (newest, *_) in zip(stacks, others, strict=True):
        assert np.array_equal(stack, frames[int(newest) - 3 : int(newest) + 1])
