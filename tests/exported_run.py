"""An exported run, and agents that nobody trained, for the tests of the export."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from drawing import without_shadows
from seer.agents.agent import Agent
from seer.config import Config, config_from_json
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.observations import play
from tiny_run import config_of


def make_agent(*flags: str) -> tuple[Agent[Any], np.ndarray]:
    """An untrained agent, and what it sees in a game."""
    config = config_of([*flags, "--hidden-units", "32", "--precision", "float32", "--device", "cpu"])
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"), seeds=[1, 2, 3, 4])
    with without_shadows():
        return agent, play(agent, environment, count=9, every=3, skip=20)


def load_run(folder: Path) -> tuple[Agent[Any], Config, dict[str, Any]]:
    """A run's agent in float32, its settings, and the state it has in its last checkpoint."""
    config = config_from_json(json.loads((folder / "config.json").read_text()))
    config = dataclasses.replace(config, learning=dataclasses.replace(config.learning, precision="float32"))
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"), seeds=[0, 0, 0, 0])
    state = load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]
    agent.load_state_dict(state)
    return agent, config, state


def outputs(file: Path, name: str, inputs: np.ndarray) -> list[np.ndarray]:
    """All at once, by ONNX Runtime alone."""
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {name: inputs})
