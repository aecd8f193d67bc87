"""Our Adam is PyTorch's, and leaves PyTorch's compiler alone."""

import subprocess
import sys

import torch
from torch import nn

from seer.agents.optimizers import Adam


def test_steps_and_state_are_those_of_pytorch() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    pair = [(ours, Adam(ours.parameters(), lr=0.01, fused=True))]
    pair.append((theirs, torch.optim.Adam(theirs.parameters(), lr=0.01, fused=True)))
    for _ in range(5):
        inputs = torch.randn(4, 5)
        for module, optimizer in pair:
            optimizer.zero_grad()
            module(inputs).square().sum().backward()
            optimizer.step()
    fresh = Adam(ours.parameters(), lr=1.0, fused=True)
    fresh.load_state_dict(pair[1][1].state_dict())
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(left, right)
        assert torch.equal(fresh.state[left]["exp_avg"], pair[0][1].state[left]["exp_avg"])
    assert fresh.param_groups[0]["lr"] == 0.01


def test_a_step_does_not_import_the_compiler() -> None:
    code = """
import sys, torch
from seer.agents.optimizers import Adam
weight = torch.nn.Parameter(torch.ones(2))
optimizer = Adam([weight], fused=True)
weight.sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
