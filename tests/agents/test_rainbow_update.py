"""One update of Rainbow by hand, with parts that are really on or off."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from seer.core.phase import Phase
from small_agent import PARTS, every_agent, learn_a_little, listen, make_agent, make_batch


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("distributional", [True, False])
@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_an_update_descends_on_the_error_by_hand(
    double: bool, distributional: bool, dueling: bool, noisy: bool
) -> None:
    """Sample by sample: who chooses the next action, who values it, which output learns, what the weights do."""
    parts = {"double": double, "distributional": distributional, "dueling": dueling, "noisy": noisy}
    agent, other = make_agent(**parts), make_agent(**parts, seed=5)
    agent.target.load_state_dict(other.online.state_dict())
    batch = make_batch(agent, size=32)
    online, target, value = copy.deepcopy(agent.online), copy.deepcopy(agent.target), agent.value
    generator = torch.Generator()
    generator.set_state(agent.generator.get_state())
    noises = [network.head.draw_noise(generator) for network in (online, target)]
    errors, priorities, q_values, disagreements = [], [], [], 0
    for b in range(32):
        with torch.no_grad():
            now, after = (agent.online.encoder.pixels(part[b : b + 1]) for part in (batch.now, batch.next))
            outputs = online.head(*online.encoder(now), noises[0])[0]  # [A, Z]
            ours, theirs = (
                network.head(*network.encoder(after), noise)[0]
                for network, noise in zip((online, target), noises, strict=True)
            )
            best_online, best_target = (int(value.expected(part[None])[0].argmax()) for part in (ours, theirs))
            disagreements += best_online != best_target
            best, action = best_online if double else best_target, int(batch.action[b])
            reward, discount = batch.reward[b : b + 1], batch.discount[b : b + 1]
            errors.append(value.error(outputs[action][None], theirs[best][None], reward, discount)[0])
            distance = outputs[action, 0] - (reward + discount * theirs[best, 0])[0]  # where Z is 1
            priorities.append(errors[-1] if distributional else distance.abs())
            q_values.append(value.expected(outputs[None])[0, action])
    assert disagreements > 5  # or the test couldn't tell double Q from single
    result = agent.update(batch)
    assert result.priority is not None
    assert not result.priority.requires_grad
    torch.testing.assert_close(result.priority, torch.stack(priorities), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.metrics["loss"], (batch.weight * torch.stack(errors)).mean())
    torch.testing.assert_close(result.metrics["q_mean"], torch.stack(q_values).mean(), rtol=1e-4, atol=1e-5)


def test_updates_lower_the_loss_of_their_batch() -> None:
    for parts in PARTS.values():
        agent = make_agent(**parts, target_every=10_000)
        batch = make_batch(agent)
        losses = [float(agent.update(batch).metrics["loss"]) for _ in range(60)]
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.02, parts


@pytest.mark.parametrize("phase", list(Phase))
def test_every_update_draws_noise_for_both_networks(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent()
    if phase is not Phase.FRAMES:
        agent.freeze(phase)
    drawn = listen(agent, monkeypatch)
    learn_a_little(agent, updates=3)
    assert [name for name, _ in drawn] == ["online", "target"] * 3
    layers = [tuple(noise.inputs[:8].tolist()) for _, noises in drawn for noise in noises]
    assert len(layers) == len(set(layers)) == 3 * 2 * 4


@every_agent
def test_metrics_are_numbers_without_a_graph(parts: dict[str, Any]) -> None:
    """Summed up over a thousand updates, graphs would be a leak."""
    (result,) = learn_a_little(make_agent(**parts), updates=1)
    assert result.metrics.keys() == {"loss", "q_mean", "gradient_norm"}
    assert all(metric.ndim == 0 and not metric.requires_grad for metric in result.metrics.values())


def test_parts_off_are_not_there() -> None:
    agent = make_agent(**PARTS["dqn"])
    assert agent.online.head.value is None
    assert agent.online.head.num_atoms == 1
    assert not agent.online.head.draw_noise(torch.Generator())
