"""Rainbow and its parts in small, for tests: made in a millisecond, updated in another; and how two are compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seer.agents.agent import EncodedNetwork, Update
from seer.agents.losses import CategoricalValue, ScalarValue
from seer.agents.rainbow import Epsilon, Rainbow
from seer.core.phase import Phase
from seer.envs.base import Pixels
from seer.networks.convolutions import DATA_EFFICIENT, Convolution, ConvStage, chain
from seer.networks.encoders import ConvolutionForm, assemble
from seer.networks.heads import Noise, ValueHead
from seer.replay import Batch

STACK, FRAME_SHAPE, ACTIONS = 2, (1, 30, 30), 4
ALL_ON: dict[str, Any] = {"double": True, "distributional": True, "dueling": True, "noisy": True}
PARTS: dict[str, dict[str, Any]] = {
    "rainbow": ALL_ON,
    "single-q": ALL_ON | {"double": False},
    "scalar": ALL_ON | {"distributional": False},
    "one-stream": ALL_ON | {"dueling": False},
    "plain-layers": ALL_ON | {"noisy": False},
    "dqn": dict.fromkeys(ALL_ON, False),
}

every_agent = pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
FROZEN = [Phase.LATENTS, Phase.FROZEN_FRAMES]


def make_agent(
    *,
    double: bool = True,
    distributional: bool = True,
    dueling: bool = True,
    noisy: bool = True,
    layers: Sequence[Convolution] = DATA_EFFICIENT,
    stack: int = STACK,
    frame_shape: tuple[int, int, int] = FRAME_SHAPE,
    num_actions: int = ACTIONS,
    num_atoms: int = 21,
    batch_size: int = 8,
    convolution: ConvolutionForm = "direct",
    seed: int = 0,
    **options: Any,
) -> Rainbow:
    """`options` are Rainbow's own."""
    torch.manual_seed(seed)
    stages = chain(frame_shape, stack, ConvStage, layers)
    encoder = assemble(stages, convolution=convolution)
    head = ValueHead(
        feature_size=encoder.output_size,
        num_actions=num_actions,
        num_atoms=num_atoms if distributional else 1,
        hidden_units=32,
        dueling=dueling,
        noisy_sigma=0.5 if noisy else None,
    )
    defaults: dict[str, Any] = {
        "target_every": 3,
        "make_optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True),
        "max_gradient_norm": 1000.0,
        "epsilon": Epsilon(0, 0, 1),
        "generator": torch.Generator().manual_seed(seed + 1),
        "rng": np.random.default_rng(seed + 2),
    }
    return Rainbow(
        EncodedNetwork(encoder, head),
        CategoricalValue(num_atoms=num_atoms, minimum=-2, maximum=4) if distributional else ScalarValue(),
        double=double,
        batch_size=batch_size,
        **(defaults | options),
    )


def make_batch(
    agent: Rainbow,
    *,
    size: int = 8,
    latents: bool = False,
    seed: int = 0,
    shape: tuple[int, ...] = (STACK, *FRAME_SHAPE),
) -> Batch:
    """A batch of noise for `agent`, as frames [S, C, H, W] or as their latents; the same one for the same seed."""
    source = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (2, size, *shape), dtype=torch.uint8, generator=source)
    now, following = (agent.encode(part).flatten(1, 2) for part in frames) if latents else frames
    discount = torch.rand(size, generator=source)
    discount[::4] = 0
    return Batch(
        now=now,
        action=torch.randint(0, agent.online.head.num_actions, (size,), generator=source),
        reward=torch.randn(size, generator=source),
        next=following,
        discount=discount,
        weight=torch.rand(size, generator=source),
        index=np.arange(size),
    )


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict[str, Tensor], module: torch.nn.Module) -> bool:
    """Bit for bit."""
    after = module.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def learn_a_little(agent: Rainbow, *, updates: int, seed: int = 10) -> list[Update]:
    latents = agent.phase is Phase.LATENTS
    return [agent.update(make_batch(agent, latents=latents, seed=seed + k)) for k in range(updates)]


def observations(count: int, seed: int = 0) -> Pixels:
    """Patterns [count, S, C, H, W] of black and white squares, which look less alike than noise does."""
    squares = np.random.default_rng(seed).integers(0, 2, size=(count, STACK, 1, 3, 3), dtype=np.uint8)
    return (squares * 255).repeat(10, axis=-2).repeat(10, axis=-1)


def tied(agent: Rainbow) -> bool:
    """Whether both networks have the same frozen layers."""
    stages = zip(agent.online.encoder.stages, agent.target.encoder.stages, strict=True)
    return all(online is target for online, target in stages)


def listen(agent: Rainbow, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[Noise]]]:
    """Every noise drawn from now on, and whose."""
    drawn: list[tuple[str, list[Noise]]] = []
    for name, network in (("online", agent.online), ("target", agent.target)):

        def draw(generator: torch.Generator, name: str = name, head: ValueHead = network.head) -> list[Noise]:
            drawn.append((name, ValueHead.draw_noise(head, generator)))
            return drawn[-1][1]

        monkeypatch.setattr(network.head, "draw_noise", draw)
    return drawn
