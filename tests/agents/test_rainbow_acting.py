"""How Rainbow acts and explores, and the rows that it hands to the replay."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from seer.agents.rainbow import Epsilon, Rainbow
from seer.core.phase import Phase
from seer.envs.base import Pixels
from small_agent import ACTIONS, ALL_ON, PARTS, every_agent, listen, make_agent, observations


def greedy(agent: Rainbow, observation: Pixels) -> int:
    encoder, head = agent.online.encoder, agent.online.head
    with torch.no_grad():
        (latent,) = encoder(encoder.pixels(torch.from_numpy(observation)[None]))
        return int(agent.value.expected(head(latent))[0].argmax())


def sharpened(agent: Rainbow) -> Rainbow:
    """Without biases and with large features: values depend on what is seen, and rounding decides no action."""
    with torch.no_grad():
        for name, parameter in agent.online.named_parameters():
            parameter.mul_(0 if name.endswith("bias") else 3)
    return agent


@every_agent
def test_act_is_greedy_without_noise_and_leaves_no_trace(parts: dict[str, Any]) -> None:
    agent = sharpened(make_agent(**parts, epsilon=Epsilon(1, 1, 1), seed=4))
    before = agent.state_dict()
    generator, rng = before["generators"]["noise"].clone(), before["generators"]["exploration"]
    seen = observations(30)
    actions = agent.act(seen)
    assert actions.dtype == np.int64
    assert actions.tolist() == [greedy(agent, observation) for observation in seen]
    assert len(set(actions.tolist())) > 1
    assert agent.act(seen).tolist() == actions.tolist()
    assert torch.equal(agent.generator.get_state(), generator)
    assert agent.rng.bit_generator.state == rng
    assert agent.decisions == 0


def test_epsilon_falls_linearly_and_then_stays() -> None:
    epsilon = Epsilon(start=1.0, end=0.1, steps=100)
    assert [epsilon.at(step) for step in (0, 50, 100, 5000)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_dqn_explores_by_epsilon() -> None:
    """Uniformly at first, later with probability epsilon, and greedily otherwise."""
    agent = sharpened(make_agent(**PARTS["dqn"], epsilon=Epsilon(start=1.0, end=0.2, steps=1000)))
    observation = observations(1)[0]
    best = greedy(agent, observation)
    agent.decisions = 0
    first = []
    for _ in range(400):
        first.append(agent.explore(observation)[0])
        agent.decisions = 0
    counts = Counter(first)
    assert all(abs(counts[action] / 400 - 1 / ACTIONS) < 0.09 for action in range(ACTIONS))  # four deviations
    agent.decisions = 1000
    later = Counter(agent.explore(observation)[0] for _ in range(600))
    assert agent.decisions == 1600
    others = 1 - later[best] / 600
    assert others == pytest.approx(0.2 * (ACTIONS - 1) / ACTIONS, abs=0.06)


def test_without_epsilon_and_noise_decisions_are_greedy() -> None:
    agent = sharpened(make_agent(**ALL_ON | {"noisy": False}))
    for observation in observations(20):
        assert agent.explore(observation)[0] == greedy(agent, observation)


def test_rainbow_explores_by_noise_drawn_for_every_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent()
    observation = observations(1)[0]
    drawn = listen(agent, monkeypatch)
    assert len({agent.explore(observation)[0] for _ in range(60)}) > 1
    agent.act(observation[None])
    assert [name for name, _ in drawn] == ["online"] * 60


@pytest.mark.parametrize("phase", list(Phase))
def test_rows_are_newest_frames_or_latents(phase: Phase) -> None:
    agent = make_agent()
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    observation = observations(1)[0]
    expected = torch.from_numpy(observation[-1])
    if phase is Phase.LATENTS:
        expected = agent.encode(torch.from_numpy(observation)[None])[0]
        assert expected.shape == agent.latent.shape == (1, 1, 64)
    for row in (agent.explore(observation)[1], agent.row(observation)):
        assert torch.equal(row, expected)
        assert not row.requires_grad
