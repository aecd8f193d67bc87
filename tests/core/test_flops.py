"""The cost accounting: the paper's formulas by hand, and against PyTorch's own count of real passes.

PyTorch's counter differs from the paper's accounting in known ways, which these tests account for exactly:
it counts 2 FLOPs for a multiply-add; it sees that the lowest layer that learns needs no gradient of its inputs,
where the paper says that every backward pass costs two forward passes; and it counts the batched product that
projects the return distribution of C51, which the paper leaves out with all other arithmetic of the loss.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import seer
from seer.agents.rainbow import Rainbow
from seer.core.flops import NO_PASSES, Cost, FlopsLedger, Part, Passes
from seer.core.phase import Phase
from seer.networks.convolutions import CONVOLUTIONS
from seer.replay import Batch
from small_agent import PARTS, make_agent, make_batch

ATOMS, HIDDEN, BATCH = 51, 32, 8
SHAPE = (4, 1, 84, 84)
FIRST_CONVOLUTION = {"data-efficient": 819_200, "canonical": 3_276_800}  # multiply-adds, per observation
LATENT = {"data-efficient": 576, "canonical": 3136}

# Rainbow on Alien-like 18 actions, worked out by hand: E, and M of two streams of 256 units.
E = 819_200 + 460_800
M = 576 * 256 * 2 + 256 * 51 * 18 + 256 * 51


def plain_cost(encoder: int, heads: int, *, batch_size: int, forwards: int, backwards: int, **options: int) -> Cost:
    """The paper's case: one F and one B for encoder and heads."""
    learning = Passes(forwards, backwards)
    frozen = {Phase.LATENTS: NO_PASSES, Phase.FROZEN_FRAMES: Passes(2, 0)}
    parts = Part(encoder, {Phase.FRAMES: learning} | frozen), (Part(heads, dict.fromkeys(Phase, learning)),)
    return Cost(*parts, batch_size=batch_size, **options)


RAINBOW = plain_cost(E, M, batch_size=32, forwards=3, backwards=1)


# SPEC section 2, by hand -----------------------------------------------------------------------------------------


def test_a_step_before_the_freeze() -> None:
    """b F (E + M) + 2 b B (E + M) + (E + M), also for the baseline."""
    assert RAINBOW.step(Phase.FRAMES) == 32 * 3 * (E + M) + 2 * 32 * 1 * (E + M) + (E + M)
    assert RAINBOW.step(Phase.FRAMES) == 161 * (E + M)


def test_a_step_after_the_freeze() -> None:
    """b F M + 2 b B M + (E + M) + E K N."""
    assert RAINBOW.step(Phase.LATENTS) == 32 * 3 * M + 2 * 32 * 1 * M + (E + M) + E
    assert RAINBOW.step(Phase.LATENTS) == 161 * M + 2 * E


def test_crops_and_encoders_cost_when_latents_are_stored() -> None:
    cost = plain_cost(1000, 10, batch_size=2, forwards=5, backwards=2, crops=4, encoders=2)
    assert cost.store == 8000
    assert cost.act == 1010
    assert cost.step(Phase.FRAMES) == 2 * 5 * 1010 + 2 * 2 * 2 * 1010 + 1010
    assert cost.step(Phase.LATENTS) == 2 * 5 * 10 + 2 * 2 * 2 * 10 + 1010 + 8000
    assert cost.freeze(300) == 300 * 8000  # E K N min(T_f, C)


def test_a_frozen_encoder_over_frames_still_runs_forward() -> None:
    """Once over each of the two observations: the paper has no formula for it."""
    assert RAINBOW.step(Phase.FROZEN_FRAMES) == 32 * 2 * E + 32 * 3 * M + 2 * 32 * M + (E + M)


def test_several_updates_per_step_share_the_action() -> None:
    for phase in Phase:
        update = RAINBOW.step(phase, updates=3) - RAINBOW.step(phase, updates=2)
        assert update == RAINBOW.update(phase)
    assert RAINBOW.step(Phase.FRAMES, updates=0) == E + M
    assert RAINBOW.step(Phase.LATENTS, updates=0) == E + M + E


def test_the_ledger_adds_up() -> None:
    ledger = FlopsLedger(RAINBOW)
    for step in range(1, 31):
        ledger.on_step(Phase.FRAMES if step <= 20 else Phase.LATENTS)
        if step == 20:
            ledger.on_freeze(15)
        if step >= 10:
            ledger.on_update(Phase.FRAMES if step < 20 else Phase.LATENTS)
    before, after = 32 * 5 * (E + M), 32 * 5 * M
    assert ledger.total == 20 * (E + M) + 10 * before + 15 * E + 10 * (2 * E + M) + 11 * after
    assert ledger.baseline == 30 * (E + M) + 21 * before
    assert ledger.freeze == 15 * E
    resumed = FlopsLedger(RAINBOW)
    resumed.load_state_dict(ledger.state_dict())
    assert vars(resumed) == vars(ledger)


# Against PyTorch's counter ---------------------------------------------------------------------------------------


def atari_sized(encoder: str, parts: dict[str, Any], **options: Any) -> Rainbow:
    shapes = {"layers": CONVOLUTIONS[encoder], "stack": 4, "frame_shape": SHAPE[1:], "num_atoms": ATOMS}
    return make_agent(**parts, **shapes, batch_size=BATCH, **options)


def counted(agent: Rainbow, batch: Batch) -> int:
    """Multiply-adds of a real update, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def projection(parts: dict[str, Any]) -> int:
    """Multiply-adds of projecting BATCH return distributions."""
    return BATCH * ATOMS * ATOMS if parts["distributional"] else 0


def first_layers_of_the_head(encoder: str, parts: dict[str, Any]) -> int:
    """Multiply-adds, per observation, of the layers whose inputs are the latents: one per stream."""
    return LATENT[encoder] * HIDDEN * (2 if parts["dueling"] else 1)


@pytest.mark.parametrize("encoder", FIRST_CONVOLUTION)
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_an_update_on_frames(encoder: str, parts: dict[str, Any]) -> None:
    agent = atari_sized(encoder, parts)
    saved = BATCH * FIRST_CONVOLUTION[encoder]  # pixels need no gradient
    expected = agent.cost.update(Phase.FRAMES) - saved + projection(parts)
    assert counted(agent, make_batch(agent, size=BATCH, shape=SHAPE)) == expected


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_an_update_on_frames_by_products_on_patches(parts: dict[str, Any]) -> None:
    """The outputs at the rim that the second convolution doesn't read, 31 of 16 x 16, aren't computed but do count."""
    agent = atari_sized("data-efficient", parts, convolution="patches")
    first, passes = FIRST_CONVOLUTION["data-efficient"], agent.cost.encoder.passes[Phase.FRAMES]
    rim = first * 31 // 256
    saved = BATCH * (first + (passes.forwards + passes.backwards) * rim)
    expected = agent.cost.update(Phase.FRAMES) - saved + projection(parts)
    assert counted(agent, make_batch(agent, size=BATCH, shape=SHAPE)) == expected


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_an_update_on_latents(parts: dict[str, Any]) -> None:
    agent = atari_sized("data-efficient", parts)
    batch = make_batch(agent, size=BATCH, latents=True, shape=SHAPE)
    agent.freeze(Phase.LATENTS)
    saved = BATCH * first_layers_of_the_head("data-efficient", parts)  # latents need no gradient
    assert counted(agent, batch) == agent.cost.update(Phase.LATENTS) - saved + projection(parts)


@pytest.mark.parametrize("encoder", FIRST_CONVOLUTION)
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_an_update_on_frames_with_the_encoder_frozen(encoder: str, parts: dict[str, Any]) -> None:
    """Online and target encoder are one, so the next observation is encoded once."""
    agent = atari_sized(encoder, parts)
    batch = make_batch(agent, size=BATCH, shape=SHAPE)
    agent.freeze(Phase.FROZEN_FRAMES)
    gradients_saved = BATCH * first_layers_of_the_head(encoder, parts)
    expected = agent.cost.update(Phase.FROZEN_FRAMES) - gradients_saved + projection(parts)
    assert counted(agent, batch) == expected


def noise_products(agent: Rainbow) -> int:
    """A decision applies noise by a product with the sigmas, but noise doesn't count."""
    return agent.online.head.multiply_adds()


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_acting_and_storing(parts: dict[str, Any]) -> None:
    agent = atari_sized("data-efficient", parts)
    observation = np.zeros((4, 1, 84, 84), np.uint8)
    with FlopCounterMode(display=False) as counter:
        agent.explore(observation)
    noise = noise_products(agent) if parts["noisy"] else 0
    assert counter.get_total_flops() == 2 * (agent.cost.act + noise)
    with FlopCounterMode(display=False) as counter:
        agent.encode(torch.zeros(7, 4, 1, 84, 84, dtype=torch.uint8))
    assert counter.get_total_flops() == 2 * agent.cost.freeze(7) == 14 * agent.cost.store


def test_storing_a_latent_reuses_the_encoding_that_chose_the_action() -> None:
    """So a step after the freeze costs E less than the paper's formula says."""
    agent = atari_sized("data-efficient", PARTS["rainbow"])
    agent.freeze(Phase.LATENTS)
    with FlopCounterMode(display=False) as counter:
        agent.explore(np.zeros((4, 1, 84, 84), np.uint8))
    done = agent.cost.step(Phase.LATENTS, updates=0) - agent.cost.store
    assert counter.get_total_flops() == 2 * (done + noise_products(agent))


def test_forward_passes_are_3_with_double_q_and_2_without() -> None:
    rainbow, single = (atari_sized("data-efficient", PARTS[name]).cost for name in ("rainbow", "single-q"))
    assert rainbow.encoder.passes[Phase.FRAMES] == rainbow.heads[0].passes[Phase.LATENTS] == Passes(3, 1)
    assert single.encoder.passes[Phase.FRAMES] == single.heads[0].passes[Phase.LATENTS] == Passes(2, 1)


# For modules of one's own -------------------------------------------------------------------------------------------


def test_the_papers_costs() -> None:
    """E of the data-efficient encoder; a step of DQN before and after the freeze, by hand."""
    norm = nn.BatchNorm2d(64)
    module = nn.Sequential(nn.Conv2d(4, 32, 5, 5), nn.ReLU(), nn.Conv2d(32, 64, 5, 5), norm)
    head = nn.Linear(576, 6)
    encoder_cost = seer.count_multiply_adds(module, torch.zeros(1, 4, 84, 84))
    head_cost = seer.count_multiply_adds(head, torch.zeros(1, 576))
    assert (encoder_cost, head_cost) == (819_200 + 460_800, 576 * 6)
    assert module.training
    assert norm.num_batches_tracked == 0  # counting changes nothing
    cost = seer.cost_of(encoder=encoder_cost, head=head_cost, batch_size=32, crops=4)
    both = encoder_cost + head_cost
    assert cost.step(seer.Phase.FRAMES) == 32 * 2 * both + 2 * 32 * both + both
    assert cost.step(seer.Phase.LATENTS) == 32 * 2 * head_cost + 2 * 32 * head_cost + both + 4 * encoder_cost
    assert cost.freeze(1000) == 4000 * encoder_cost


def test_counting_leaves_what_was_in_evaluation_mode_there() -> None:
    module = nn.Sequential(nn.Conv2d(2, 2, 4, 4), nn.ReLU()).train()
    module[1].eval()
    assert seer.count_multiply_adds(module, torch.zeros(1, 2, 12, 12)) == 2 * 9 * 2 * 16
    assert [each.training for each in module.modules()] == [True, True, False]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_counts_every_step_through_its_weights(bidirectional: bool) -> None:
    module = nn.LSTM(40, 8, num_layers=2, bidirectional=bidirectional)
    weights = sum(weight.numel() for name, weight in module.named_parameters() if "weight" in name)
    assert seer.count_multiply_adds(module, torch.zeros(5, 1, 40)) == 5 * weights
