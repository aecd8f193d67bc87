"""What a freeze of Rainbow stops and ties, in every phase: frozen layers, targets, gradients."""

from typing import Any

import pytest
import torch

from seer.core.phase import Phase
from small_agent import FROZEN, every_agent, gradients, learn_a_little, make_agent, same, snapshot, tied


@every_agent
@pytest.mark.parametrize("phase", FROZEN)
def test_frozen_layers_stay_bit_for_bit(phase: Phase, parts: dict[str, Any]) -> None:
    agent = make_agent(**parts)
    fresh = snapshot(agent.online.encoder)
    learn_a_little(agent, updates=4)
    assert not same(fresh, agent.online.encoder)  # it did learn
    assert gradients(agent.online.encoder)
    before, head = snapshot(agent.online.encoder), snapshot(agent.online.head)
    agent.freeze(phase)
    assert agent.phase is phase
    for result in learn_a_little(agent, updates=40):
        norm = torch.cat([gradient.flatten() for gradient in gradients(agent.online.head).values()]).norm()
        assert result.metrics["gradient_norm"] > 0
    torch.testing.assert_close(result.metrics["gradient_norm"], norm)  # the last one: the head's alone
    assert same(before, agent.online.encoder)
    assert same(before, agent.target.encoder)
    assert not same(head, agent.online.head)
    assert not gradients(agent.online.encoder)
    assert not any(parameter.requires_grad for parameter in agent.online.encoder.parameters())


@pytest.mark.parametrize("phase", FROZEN)
def test_the_freeze_ties_encoders_not_heads_and_drops_the_optimiser(phase: Phase) -> None:
    agent = make_agent()
    learn_a_little(agent, updates=2)  # target_every is 3: the encoders differ by now
    assert not same(snapshot(agent.online.encoder), agent.target.encoder)
    head = snapshot(agent.target.head)
    agent.freeze(phase)
    assert tied(agent)
    assert agent.target.head is not agent.online.head
    assert same(head, agent.target.head)
    assert agent.optimizers.keys() == {"head"}
    optimised = {id(p) for group in agent.optimizers["head"].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in agent.online.head.parameters()}


@pytest.mark.parametrize("phase", list(Phase))
def test_the_target_is_a_copy_made_every_n_updates(phase: Phase) -> None:
    agent = make_agent(target_every=3)
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    copied = snapshot(agent.target)
    for number in range(1, 10):
        learn_a_little(agent, updates=1, seed=number)
        if number % 3 == 0:
            copied = snapshot(agent.online)
        assert same(copied, agent.target), number
        assert same(copied, agent.online) == (number % 3 == 0), number
    assert not any(parameter.requires_grad for parameter in agent.target.head.parameters())
    assert not gradients(agent.target.head)


@pytest.mark.parametrize("phase", list(Phase))
def test_gradients_are_clipped_together(phase: Phase) -> None:
    agent = make_agent(max_gradient_norm=1e-3)
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    (result,) = learn_a_little(agent, updates=1)
    clipped = torch.cat([gradient.flatten() for gradient in gradients(agent.online).values()]).norm()
    assert result.metrics["gradient_norm"] > 1e-2
    assert clipped == pytest.approx(1e-3, rel=1e-3)
