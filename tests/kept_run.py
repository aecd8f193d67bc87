"""Run folders of agents that nobody trained, written as a run writes them."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seer.agents.agent import Agent
from seer.config import config_to_json
from seer.core.phase import Phase
from seer.runs.checkpoints import save_checkpoint
from seer.runs.folder import RunFolder
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from tiny_run import config_of

STEP = 120

SMALL = ("--hidden-units", "16", "--image-size", "44", "--steps", "200", "--freeze-at", "100", "--device", "cpu")
SMALL += ("--first-update", "50", "--replay-capacity", "150", "--batch-size", "8", "--precision", "float32")
FLAGS = {
    "rainbow": ("--env", "third_party:Shows-v0", "--n-step", "3", "--noisy-sigma", "9"),
    "dqn": ("--env", "third_party:Shows-v0", "--epsilon-steps", "60"),
    "sac": ("--env", "third_party:Box-v0", "--crop-size", "36", "--random-steps", "50"),
    "curl": ("--env", "third_party:Box-v0", "--crop-size", "36", "--random-steps", "50"),
    "drqv2": ("--env", "third_party:Box-v0", "--noise-steps", "60", "--random-steps", "50"),
}


PONG = ("--env", "ALE/Pong-v5", "--max-episode-steps", "60")


def make_module() -> nn.Module:
    """A module of one's own that differs between learning and acting."""
    return nn.Sequential(nn.Conv2d(4, 2, 8, 8), nn.BatchNorm2d(2), nn.Dropout(0.5))


def keep_run(
    folder: Path, agent: str, *flags: str, phase: Phase = Phase.LATENTS, seed: int = 7, decisions: int = STEP
) -> Agent[Any]:
    """Write the folder of a run that stands at `STEP`, and return its agent."""
    config = config_of(["--agent", agent, *FLAGS[agent], *SMALL, *flags, "--out", str(folder)])
    environment = build_environment(config, training=True)
    made = build_agent(config, environment, torch.device("cpu"), [seed, 1, 2, 3])
    if phase is not Phase.FRAMES:
        made.freeze(phase)
    made.decisions = decisions
    settings = config_to_json(config)
    with RunFolder.create(folder, settings) as run:
        save_checkpoint(run.checkpoints, STEP, {"agent": made.state_dict(), "settings": settings})
    records: list[dict[str, Any]] = [{"kind": "eval", "step": 60, "mean": 9.0, "std": 3.0, "episodes": 2}]
    if phase is not Phase.FRAMES:
        records.append({"kind": "freeze", "step": 100})
    common = {"frames": 100, "flops": 1, "wall_seconds": 1.0}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record | common) + "\n" for record in records))
    return made
