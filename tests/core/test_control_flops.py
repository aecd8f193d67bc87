"""What SAC and CURL say an update costs, against PyTorch's own count of the real update.

The ledger charges whole forward and backward passes; each test names what the real update saves or adds.
"""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from seer.agents.sac import Sac
from seer.core.phase import Phase
from seer.replay import Batch
from small_sac import ACTIONS, CROP, cropped_batch, make, make_config

BATCH, HIDDEN, LATENT = 8, 32, 50
AFTER_ONE = (CROP - 3) // 2 + 1  # side after the first convolution; the other three take 2 pixels each
FIRST_CONVOLUTION = AFTER_ONE**2 * 32 * 9 * 9
PROJECTION = (AFTER_ONE - 6) ** 2 * 32 * LATENT  # of critic or actor
ACTOR_FIRST, CRITICS_FIRST = LATENT * HIDDEN, 2 * (LATENT + ACTIONS) * HIDDEN
CONTRAST = 2 * LATENT * LATENT + 3 * BATCH * LATENT  # per sample: W and q^T W k, forward, to W, to queries and to W k


def counted(agent: Sac, batch: Batch) -> int:
    """Multiply-adds of two updates in a row, of which the actor learns in the first."""
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
        agent.update(batch)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "alone", "backwards", "contrast"), [("sac", 6, 1, 0), ("curl", 9, 2, 2 * CONTRAST)], ids=["sac", "curl"]
)
def test_an_update_on_frames(name: str, alone: int, backwards: int, contrast: int) -> None:
    agent, _ = make(make_config(name))
    batch, _ = cropped_batch(agent, crops=1)
    # Two updates. Pixels need no gradient. A backward pass reaches the weights and inputs of the critic's projection,
    # not the actor's, whose weights alone learn once. So many forward passes need one projection alone.
    saved = 2 * backwards * (FIRST_CONVOLUTION + 2 * PROJECTION) - PROJECTION + alone * PROJECTION
    assert counted(agent, batch) == 2 * agent.cost.update(Phase.FRAMES) + BATCH * (contrast - saved)


@pytest.mark.parametrize("name", ["sac", "curl"])
def test_an_update_on_latents(name: str) -> None:
    agent, _ = make(make_config(name))
    _, batch = cropped_batch(agent, crops=1)
    agent.freeze(Phase.LATENTS)
    saved = 2 * CRITICS_FIRST + ACTOR_FIRST  # latents need no gradient
    assert counted(agent, batch) == 2 * agent.cost.update(Phase.LATENTS) - BATCH * saved


@pytest.mark.parametrize("name", ["sac", "curl"])
def test_an_update_on_frames_with_the_encoder_frozen(name: str) -> None:
    agent, _ = make(make_config(name))
    batch, _ = cropped_batch(agent, crops=1)
    agent.freeze(Phase.FROZEN_FRAMES)
    saved = 2 * CRITICS_FIRST + ACTOR_FIRST
    assert counted(agent, batch) == 2 * agent.cost.update(Phase.FROZEN_FRAMES) - BATCH * saved


@pytest.mark.parametrize("layers", ["all", "1", "4"])
def test_acting(layers: str) -> None:
    agent, _ = make(make_config(layers=layers))
    batch, _ = cropped_batch(agent, crops=1)
    with FlopCounterMode(display=False) as counter:
        agent.act(batch.now[:1].numpy())
    assert counter.get_total_flops() == 2 * agent.cost.act


def test_storing() -> None:
    agent, _ = make(make_config())
    batch, _ = cropped_batch(agent, crops=1)
    with FlopCounterMode(display=False) as counter:
        agent.encode(batch.now)
    assert counter.get_total_flops() == 2 * agent.cost.freeze(BATCH) // agent.cost.encoders
