"""The README: its code runs with what its reader has already, and it stays short."""

import re
from pathlib import Path

import gymnasium
import pytest
import torch

import seer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
THREE_LINES, LOOP = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_it_is_read_in_a_minute() -> None:
    assert sum(bool(line) for line in README.splitlines()) <= 72


def test_its_three_lines_stand_in_the_script_of_the_quick_start() -> None:
    """Which tests/sb3/test_use.py runs."""
    script = (ROOT / "docs/quick_start/stable_baselines3.md").read_text().splitlines()
    lines = THREE_LINES.splitlines()
    assert [line[-3:] for line in lines] == ["# 1", "# 2", "# 3"]
    assert set(lines) <= set(script)


@pytest.mark.parametrize("limit", [5, 1000], ids=["cut", "ended"])
def test_its_loop_freezes_and_goes_on(limit: int) -> None:
    """With episodes that a time limit cuts, and others that end."""
    game = gymnasium.wrappers.TimeLimit(gymnasium.make("third_party:Shows-v0", shape=(84, 84)), limit)
    stacks = gymnasium.wrappers.FrameStackObservation(game, 4)
    env = gymnasium.wrappers.TransformObservation(stacks, lambda stack: stack[:, None], None)  # [S, C, H, W]
    convolutions, the_targets = (torch.nn.Sequential(torch.nn.Conv2d(4, 8, 8, 8), torch.nn.ReLU()) for _ in range(2))
    target = seer.FreezableEncoder(the_targets, (4, 1, 84, 84))
    names = {
        "seer": seer, "env": env, "observation": env.reset(seed=0)[0], "convolutions": convolutions,
        "choose": lambda features: int(features.mean() > 0), "target_encoder": target,
    }  # fmt: skip
    shorter = {"100_000_000": "2_000_000", "100_000": "90", "50_000": "60", "1_000": "40"}
    exec(re.sub("|".join(rf"\b{number}\b" for number in shorter), lambda found: shorter[found[0]], LOOP), names)
    replay, encoder = names["replay"], names["encoder"]
    assert replay.holds_latents
    assert replay.size == 90 + (90 // 5 if limit == 5 else 0)  # an episode that was cut has a row more
    assert names["now"].shape == (32, encoder.output_size)
    assert all(map(torch.equal, encoder.parameters(), target.parameters()))
