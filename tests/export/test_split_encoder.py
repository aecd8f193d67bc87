"""The example in which a device encodes and a server decides."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from exported_run import load_run
from seer.agents.agent import Agent
from seer.config import Config
from seer.export.check import run
from seer.replay.codec import Int8Codec
from seer.training.build_environment import build_environment

EXAMPLE = Path(__file__).parents[2] / "examples/split_encoder.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("split_encoder", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_latents_are_sent_as_the_replay_stores_them(
    example: ModuleType, exported: Path, observations: np.ndarray
) -> None:
    latents = run(exported / "encoder.onnx", observations)["latents"]
    ranges = {name: torch.tensor(each) for name, each in json.loads((exported / "int8.json").read_text()).items()}
    codec = Int8Codec(ranges["low"], ranges["step"])
    for dtype, stored in (
        ("float32", torch.from_numpy(latents)),
        ("float16", torch.from_numpy(latents).half().float()),
        ("int8", codec.decode(codec.encode(torch.from_numpy(latents)))),
    ):
        wire = example.Wire(exported, dtype, (1, 1, 576))
        for given, wanted in zip(latents, stored, strict=True):
            message = wire.pack(given[None])
            assert len(message) == wire.num_bytes == {"float32": 2304, "float16": 1152, "int8": 576}[dtype]
            np.testing.assert_allclose(wire.unpack(message)[0], wanted, atol=1e-6)


def play_whole_game(agent: Agent[Any], config: Config, seed: int) -> tuple[int, float]:
    """Decisions and score."""
    environment = build_environment(config, training=False)
    observation, _ = environment.reset(seed=seed)
    over, info = False, {}
    while not over:
        observation, _, terminated, truncated, info = environment.step(agent.act(observation[None])[0])
        over = terminated or truncated
    return info["episode"]["length"], info["episode"]["return"]


@pytest.mark.parametrize(("dtype", "num_bytes"), [("float32", 2304), pytest.param("int8", 576, marks=pytest.mark.slow)])
def test_device_and_server_play_the_game_that_the_agent_plays(
    dtype: str, num_bytes: int, finished_run: Path, exported: Path
) -> None:
    command = [sys.executable, "-W", "error", EXAMPLE, exported, "--latents", dtype, "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    game, sent, frames = done.stdout.splitlines()
    assert f"{num_bytes:,} bytes a decision" in sent
    assert "7,056 bytes" in frames
    assert "28,224" in frames
    if dtype == "float32":
        agent, config, _ = load_run(finished_run)
        decisions, score = play_whole_game(agent, config, seed=5)
        assert game == f"one game of ALE/Pong-v5: {decisions:,} decisions, score {score:,.1f}"


def test_both_sides_do_without_torch() -> None:
    ours = "import seer.envs.atari, seer.envs.dm_control, seer.envs.gymnasium"
    code = f"import runpy, sys; runpy.run_path({str(EXAMPLE)!r}); {ours}; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == ["False"]
