"""The part that SAC, CURL and DrQ-v2 share: an actor and two critics above one encoder.

Axes: B batch, S stack, C channels, H, W, N latents per observation, L latent size, F feature size, A actions.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from seer.agents.agent import Agent, EncodedNetwork, RandomGenerator
from seer.agents.inputs import Generators
from seer.agents.optimizers import MakeOptimizer
from seer.core.flops import NO_PASSES, Cost, Part, Passes
from seer.core.phase import Phase
from seer.networks.actor_critic import Actor, TwinCritic
from seer.networks.drqv2 import DeterministicActor

Metrics = dict[str, Tensor]

CRITIC, ACTOR = 0, 1  # whose features are which of the encoder's outputs


class ActorCritic(Agent[TwinCritic]):
    """Learn an actor and two critics. The critic's loss trains the convolutions, the actor's stops before them.

    Optimisers: "critic" and "actor" of the heads and of each one's own layers above the frozen base; "encoder" and
    "actor_encoder" of what the base holds of them, which the freeze drops.

    Args:
        network: the online encoder and critics; the target starts as its copy.
        random_steps: uniformly random actions at first.
    """

    ends_at_freeze: tuple[str, ...] = ("encoder", "actor_encoder")

    def __init__(
        self,
        network: EncodedNetwork[TwinCritic],
        actor: Actor | DeterministicActor,
        *,
        random_steps: int,
        make_optimizer: MakeOptimizer,
        generators: Generators,
    ) -> None:
        super().__init__(network)
        self.actor, self.random, self.random_steps = actor, generators, random_steps
        base, base_actor = self.split(network.encoder.base_parameters())
        above, above_actor = self.split(network.encoder.above_parameters())
        groups = {
            "critic": [*above, *network.head.parameters()],
            "encoder": base,
            "actor": [*above_actor, *actor.parameters()],
            "actor_encoder": base_actor,
        }
        # A module of one's own may have no parameters.
        self.optimizers = {name: make_optimizer(group) for name, group in groups.items() if group}

    @abstractmethod
    def best(self, features: Tensor) -> Tensor:
        """Return actions [B, A] without exploration, of the actor's features [B, F]."""

    @abstractmethod
    def exploring(self, features: Tensor) -> Tensor:
        """Return exploring actions [B, A], of the actor's features [B, F]."""

    @torch.no_grad()
    def explore(self, observation: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Return an exploring action [A] for one observation [S, C, H, W] uint8, and the row to store for it."""
        features, row = self.online.encoder.observe(observation)
        action = self.exploring(features[ACTOR])[0].cpu().numpy()
        if self.decisions < self.random_steps:
            action = self.random.actions.uniform(-1, 1, self.actor.action_size).astype(np.float32)
        self.decisions += 1
        return action, self._newest(row)

    @torch.no_grad()
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return the policy's actions [B, A] without exploration for observations [B, S, C, H, W] uint8."""
        encoder = self.online.encoder
        features = encoder(encoder.inputs(encoder.view(self._to_device(observations))))
        return self.best(features[ACTOR]).cpu().numpy()

    @torch.no_grad()
    def judge(self, latents: Tensor, network: EncodedNetwork[TwinCritic]) -> tuple[Tensor, Tensor]:
        """Return the policy's actions [B, A], and the critics' lower values [B], of latents [B, N, L].

        The actor has no target: it reads the online encoder's features.
        """
        action = self.best(self.online.encoder.finish(latents)[ACTOR])
        return action, network.head(network.encoder.finish(latents)[CRITIC], action).amin(0)

    def heads(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.online.head}

    def modules(self) -> dict[str, nn.Module]:
        return {"online": self.online, "target": self.target, "actor": self.actor}

    def generators(self) -> dict[str, RandomGenerator]:
        return {"policy": self.random.policy, "crops": self.random.crops, "actions": self.random.actions}

    def count_passes(self, batch_size: int, *, encoder: Passes, above: Passes, actor: Passes, critic: Passes) -> Cost:
        """Return the cost of updates with so many passes per sample.

        A frozen encoder over stored frames passes once over each of the two observations.

        Args:
            encoder: of the whole encoder, before the freeze.
            above: of its layers above the cut, after the freeze.
            actor, critic: of the heads, in every phase.
        """
        base_cost, above_cost = self.online.encoder.multiply_adds()
        frozen = {Phase.LATENTS: NO_PASSES, Phase.FROZEN_FRAMES: Passes(2, 0)}
        return Cost(
            encoder=Part(base_cost, {Phase.FRAMES: encoder} | frozen),
            heads=(
                Part(self.actor.multiply_adds(), dict.fromkeys(Phase, actor)),
                Part(self.online.head.multiply_adds(), dict.fromkeys(Phase, critic), acts=False),
                Part(above_cost, dict.fromkeys(Phase, above) | {Phase.FRAMES: encoder}),
            ),
            batch_size=batch_size,
            crops=self.latent.shape[0],
            encoders=self.latent.shape[1],
        )

    def split(self, parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return those of the encoder's parameters that the critic's loss trains, and the actor's own."""
        own = {id(parameter) for parameter in self.online.encoder.own_parameters(ACTOR)}
        both = list(parameters)
        return [p for p in both if id(p) not in own], [p for p in both if id(p) in own]


@contextmanager
def constant(module: nn.Module) -> Iterator[None]:
    """Treat the module's parameters as constants inside `with`: gradients flow through, not into them."""
    module.requires_grad_(False)
    yield
    module.requires_grad_(True)
