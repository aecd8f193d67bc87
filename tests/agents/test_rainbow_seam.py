"""Rainbow's seam: on frames or on their latents the update is the same."""

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from replay.oracle import Everything
from seer.agents.agent import Update
from seer.core.phase import Phase
from seer.networks.encoders import ConvolutionForm
from seer.replay import Batch, MemoryBlock, Replay, RowFormat
from small_agent import (
    ACTIONS,
    FRAME_SHAPE,
    FROZEN,
    STACK,
    every_agent,
    gradients,
    learn_a_little,
    make_agent,
    make_batch,
)


def filled_replay() -> Replay:
    """A ring of 50 rows that has wrapped, with a terminated, a truncated and an open episode."""
    replay = Replay(
        memory=MemoryBlock(50 * 900),
        frame=RowFormat(FRAME_SHAPE, torch.uint8),
        stack=STACK,
        action=RowFormat((), torch.int64),
        n_step=3,
        discount=0.9,
        sampler=Everything(),
        rng=np.random.default_rng(0),
    )
    rng = np.random.default_rng(1)
    for step in range(70):
        frame, final = rng.integers(0, 256, size=(2, *FRAME_SHAPE), dtype=np.uint8)
        replay.append(
            frame, rng.integers(ACTIONS), rng.normal(), terminated=step == 37, truncated=step == 55, final_row=final
        )
    return replay


def by_index(batch: Batch) -> Batch:
    """The same samples, oldest row first, with weights that differ."""
    order = torch.from_numpy(np.argsort(batch.index))
    tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "index"}
    tensors = {name: tensor[order] for name, tensor in tensors.items()}
    tensors["weight"] = torch.linspace(0.1, 1, len(order))
    return Batch(**tensors, index=batch.index[order.numpy()])


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Equal but for the order in which convolutions sum up batches of different size."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


@every_agent
def test_frozen_frames_and_latents_give_the_same_update(parts: dict[str, Any]) -> None:
    """Same rows, same noise: same errors, same gradients of the head, same head afterwards."""
    twins = {phase: make_agent(**parts) for phase in FROZEN}
    results: dict[Phase, Update] = {}
    batches: dict[Phase, Batch] = {}
    for phase, agent in twins.items():
        learn_a_little(agent, updates=4)  # so that the target isn't the online network
        replay = filled_replay()
        agent.freeze(phase)
        if phase is Phase.LATENTS:
            assert replay.transcode(agent.encode, agent.latent).converted
        batches[phase] = by_index(replay.sample(1))
        results[phase] = agent.update(batches[phase])
    latents, frames = (batches[phase] for phase in FROZEN)
    assert latents.index.tolist() == frames.index.tolist()
    assert len(frames.index) > 40
    assert latents.now.dtype == torch.float32
    assert frames.now.dtype == torch.uint8
    assert_close(results[Phase.LATENTS].metrics, results[Phase.FROZEN_FRAMES].metrics)
    priorities = [cast(Tensor, results[phase].priority) for phase in FROZEN]
    torch.testing.assert_close(*priorities, rtol=1e-4, atol=1e-6)
    heads = [twins[phase].online.head for phase in FROZEN]
    assert len(gradients(heads[0])) == len(list(heads[0].parameters()))
    assert_close(gradients(heads[0]), gradients(heads[1]))
    # Adam turns the sign of a gradient near zero into a whole step of 1e-3, so afterwards only most are compared.
    close = [(a - b).abs() < 1e-5 for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True)]
    assert torch.cat([part.flatten() for part in close]).float().mean() > 0.99


@every_agent
@pytest.mark.parametrize("phase", [Phase.FRAMES, Phase.FROZEN_FRAMES])
def test_products_on_patches_give_the_same_update(phase: Phase, parts: dict[str, Any]) -> None:
    """Only computed differently: same errors, same gradients."""
    results = []
    forms: tuple[ConvolutionForm, ...] = ("direct", "patches")
    for convolution in forms:
        agent = make_agent(**parts, convolution=convolution)
        learn_a_little(agent, updates=3)
        if phase is not Phase.FRAMES:
            agent.freeze(phase)
        (update,) = learn_a_little(agent, updates=1)
        results.append((update.metrics | {"priority": cast(Tensor, update.priority)}, gradients(agent.online)))
    for ours, theirs in zip(*results, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5)


@every_agent
def test_the_freeze_itself_changes_no_gradient_of_the_head(parts: dict[str, Any]) -> None:
    """While online and target encoder are the same, learning and frozen encoders lead to the same update above."""
    learning, frozen = make_agent(**parts), make_agent(**parts)
    frozen.freeze(Phase.FROZEN_FRAMES)
    batch = make_batch(learning)
    ours, theirs = learning.update(batch), frozen.update(batch)
    torch.testing.assert_close(ours.metrics["loss"], theirs.metrics["loss"])
    assert_close(gradients(learning.online.head), gradients(frozen.online.head))
    assert gradients(learning.online.encoder)
    assert not gradients(frozen.online.encoder)


def test_next_observations_are_encoded_by_both_encoders_before_the_freeze() -> None:
    agent = make_agent()
    batch = make_batch(agent)
    with torch.no_grad():
        for parameter in agent.target.encoder.parameters():
            parameter.mul_(0.5)
    now, next_online, next_target = agent.embed(batch)
    online, target = agent.online.encoder, agent.target.encoder
    torch.testing.assert_close((now,), online(online.pixels(batch.now)))
    torch.testing.assert_close((next_online,), online(online.pixels(batch.next)))
    torch.testing.assert_close((next_target,), target(online.pixels(batch.next)))
    assert not torch.allclose(next_online, next_target)
    assert now.requires_grad
    assert not next_online.requires_grad
    assert not next_target.requires_grad
