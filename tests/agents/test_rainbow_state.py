"""Rainbow's state: an agent restored from it goes on bit for bit."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from seer.agents.rainbow import Epsilon
from seer.core.phase import Phase
from seer.networks.encoders import ConvolutionForm
from seer.runs.checkpoints import load_checkpoint, save_checkpoint
from small_agent import PARTS, learn_a_little, make_agent, observations, same, snapshot, tied


@pytest.mark.parametrize("convolution", ["direct", "patches"])
@pytest.mark.parametrize("name", ["rainbow", "dqn"])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_restored_agent_goes_on_bit_for_bit(
    phase: Phase, name: str, convolution: ConvolutionForm, tmp_path: Path
) -> None:
    """Through a checkpoint on disk, into an agent that was made with other seeds."""
    options: dict[str, Any] = {"epsilon": Epsilon(1.0, 0.3, 20), "convolution": convolution}
    agent = make_agent(**PARTS[name], **options)
    learn_a_little(agent, updates=4)
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
        learn_a_little(agent, updates=4)
    for observation in observations(8):
        agent.explore(observation)
    state = load_checkpoint(save_checkpoint(tmp_path, 1, {"agent": agent.state_dict()}))["agent"]
    restored = make_agent(**PARTS[name], **options, seed=77)
    restored.load_state_dict(state)
    assert restored.phase is phase
    assert tied(restored) == (phase is not Phase.FRAMES)
    assert restored.target.head is not restored.online.head
    for round_number in range(5):
        seen = observations(3, seed=round_number)
        for observation in seen:
            ours, theirs = agent.explore(observation), restored.explore(observation)
            assert ours[0] == theirs[0]
            assert torch.equal(ours[1], theirs[1])
        assert agent.act(seen).tolist() == restored.act(seen).tolist()
        (one,), (other,) = (learn_a_little(part, updates=1, seed=round_number) for part in (agent, restored))
        assert all(torch.equal(one.metrics[key], other.metrics[key]) for key in one.metrics)
        assert torch.equal(cast(Tensor, one.priority), cast(Tensor, other.priority))
    assert same(snapshot(agent.online), restored.online)
    assert same(snapshot(agent.target), restored.target)


def test_a_state_names_everything_that_decides_the_future() -> None:
    """Two agents of different seeds differ in each part of their states but the phase and the counters."""
    states = [make_agent(seed=seed).state_dict() for seed in (0, 1)]
    assert states[0].keys() == {
        "phase", "updates", "decisions", "modules", "optimizers", "generators",
    }  # fmt: skip
    first, second = (state["generators"] for state in states)
    assert states[0]["modules"].keys() == {"online", "target"}
    assert first.keys() == {"noise", "exploration"}
    assert not torch.equal(first["noise"], second["noise"])
    assert first["exploration"] != second["exploration"]
