"""benchmarks/memory.py on a real game: resident bytes against what the arrays must take."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import memory
from played import Step


@pytest.mark.slow
def test_measured_bytes_are_those_of_the_rows(tmp_path: Path) -> None:
    """In a process of its own: in this one a store may lie in what earlier tests gave back."""
    command = [sys.executable, memory.__file__, "--env", "ALE/Pong-v5", "--quick", "--json", tmp_path / "memory.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    content = json.loads((tmp_path / "memory.json").read_text())
    found = {store["store"]: store for store in content["stores"]}
    expected = {
        "seer, frames": 7056, "seer, latents, float32": 2304, "seer, latents, int8": 576,
        "Stable-Baselines3": 56_448, "Stable-Baselines3, optimize_memory_usage": 28_224,
    }  # fmt: skip
    for name, count in expected.items():
        assert 0.85 * count <= found[name]["bytes_per_step"] <= 1.15 * count + 600, name
    assert found["frames, each compressed, zstd 3"]["bytes_per_step"] < 0.1 * 7056  # a ball, two paddles
    assert sum(name.startswith("sb3-extra-buffers") for name in found) == 3
    (copied,) = (store["bytes_per_step"] for name, store in found.items() if "copied" in name)
    assert copied < 0.1 * 28_224
    assert all(store["milliseconds"] > 0 for store in found.values())
    assert content["steps"] == 400
    assert all(f"| {name} " in printed for name in found)
    assert [*found] == sorted(found, key=lambda name: found[name]["bytes_per_step"])


def test_compressed_frames_come_back_as_they_were() -> None:
    frames = np.random.default_rng(0).integers(0, 4, (20, 1, 6, 6), np.uint8)
    environment: Any = SimpleNamespace(frame_shape=(1, 6, 6), stack=3)
    recording = [Step(frame, 1, float(at), False) for at, frame in enumerate(frames)]
    filled = memory.compressed(environment, 50, recording)
    sampled: Any = filled.sample()
    stacks, others = sampled
    assert filled.steps == 20
    assert stacks.shape == (50, 4, 1, 6, 6)
    for stack, (newest, *_) in zip(stacks, others, strict=True):
        assert np.array_equal(stack, frames[int(newest) - 3 : int(newest) + 1])


def test_a_store_that_took_no_page_has_a_row() -> None:
    stores = [{"store": name, "bytes_per_step": size, "milliseconds": 0.1} for name, size in (("a", 100.0), ("b", 0.0))]
    *_, row = memory.stores_table(stores, 32).splitlines()
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["b", "0", "-", "0.100"]
