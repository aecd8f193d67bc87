"""SAC (Haarnoja et al. 2018) from pixels, with the encoder of SAC-AE (Yarats et al. 2019) and SEER's freeze.

Axes: B batch, S stack, C channels, H, W, K crops, N latents per observation, L latent size, F feature
size, A actions.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from seer.agents.agent import Agent, EncodedNetwork, RandomGenerator, Update
from seer.core.flops import NO_PASSES, Cost, Part, Passes
from seer.core.phase import Phase
from seer.core.stages import Inputs
from seer.networks.actor_critic import Actor, Temperature, TwinCritic
from seer.replay import Batch

Metrics = dict[str, Tensor]

CRITIC, ACTOR = 0, 1  # whose features are which of the encoder's outputs


@dataclass(frozen=True)
class SacSettings:
    """Hold the numbers of SAC; see the table of settings in `presets.py`.

    Attributes:
        random_steps: uniformly random actions at first.
    """

    batch_size: int
    random_steps: int
    initial_temperature: float
    actor_every: int
    target_every: int
    critic_tau: float
    encoder_tau: float


@dataclass(frozen=True)
class Generators:
    """Hold the random generators of the policy (on the networks' device), and of crops and first actions (CPU)."""

    policy: torch.Generator
    crops: torch.Generator
    actions: np.random.Generator


class Sac(Agent[TwinCritic]):
    """Learn by soft actor-critic from frames, then from stored latents.

    Convolutions are shared: the critic's loss trains them, the actor's gradient stops before them. An update takes the
    steps of the published code in its order: the critic's, then, on a fresh pass through the encoder that this step has
    changed, the actor's, then the target's.

    Optimisers: "critic" and "actor" of the heads and of each one's own layers above the frozen base; "encoder" and
    "actor_encoder" of the base, which the freeze drops; "temperature".

    Args:
        network: the online encoder and critic; the target starts as its copy.
        make_optimizer: makes an optimiser of some parameters.
        make_temperature_optimizer: makes that of the temperature's logarithm.
    """

    ends_at_freeze: tuple[str, ...] = ("encoder", "actor_encoder")

    def __init__(
        self,
        network: EncodedNetwork[TwinCritic],
        actor: Actor,
        settings: SacSettings,
        *,
        make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        make_temperature_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        generators: Generators,
    ) -> None:
        super().__init__(network)
        self.actor, self.settings, self.random = actor, settings, generators
        self.temperature = Temperature(settings.initial_temperature).to(self.device)
        self.optimizers = self._make_optimizers(make_optimizer, make_temperature_optimizer)
        self.cost = self._cost()

    # Acting ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def explore(self, observation: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Return an exploring action [A] for one observation [S, C, H, W] uint8, and the row to store for it."""
        features, row = self.online.encoder.observe(observation)
        action, _ = self.actor.sample(features[ACTOR], self.random.policy)
        self.decisions += 1
        if self.decisions <= self.settings.random_steps:
            uniform = self.random.actions.uniform(-1, 1, self.actor.action_size)
            action = torch.from_numpy(uniform[None].astype(np.float32))
        return action[0].cpu().numpy(), self._newest(row)

    @torch.no_grad()
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return the policy's mean actions [B, A] for observations [B, S, C, H, W] uint8."""
        encoder = self.online.encoder
        mean, _ = self.actor(encoder(encoder.inputs(encoder.view(self._to_device(observations))))[ACTOR])
        return torch.tanh(mean).cpu().numpy()

    @torch.no_grad()
    def judge(
        self, latents: Tensor, network: EncodedNetwork[TwinCritic], actions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the policy's mean actions [B, A], or `actions`, and the critics' lower values [B], on latents.

        The actor has no target: it reads the online encoder's features.
        """
        action = torch.tanh(self.actor(self.online.encoder.finish(latents)[ACTOR])[0]) if actions is None else actions
        return action, network.head(network.encoder.finish(latents)[CRITIC], action).amin(0)

    def heads(self) -> dict[str, nn.Module]:
        """Return actor and critics."""
        return {"actor": self.actor, "critic": self.online.head}

    # Learning --------------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Update:
        """Take the steps of one update in the published order: critic, actor, target, auxiliary loss.

        Actor and temperature learn in every `actor_every`th update, the target moves in every `target_every`th.
        """
        actor_due = self.updates % self.settings.actor_every == 0
        encoder = self.online.encoder
        now, following = encoder.prepare(batch.now), encoder.prepare(batch.next)
        metrics = self.improve_critic(batch, now, following)
        if actor_due:  # on a fresh pass, as the critic's step has changed the encoder
            features = encoder.embed(now)
            metrics |= self.improve_actor(features)
        if self.updates % self.settings.target_every == 0:
            self.update_target()
        if self.has_auxiliary_loss:
            queries = features[CRITIC] if actor_due else encoder.embed_one(now, CRITIC)
            metrics |= self.improve_encoder(batch, queries)
        self.updates += 1
        return Update(metrics, priority=None)

    def improve_critic(self, batch: Batch, now: Inputs, following: Inputs) -> Metrics:
        """Take one step of the critics and of the encoder below them; `now`, `following` as `prepare` gives them."""
        online, target = self.online.encoder, self.target.encoder
        with torch.no_grad():
            next_actor, next_critic = online.embed_one(following, ACTOR), target.embed_one(following, CRITIC)
        loss, value = self.critic_loss(batch, online.embed_one(now, CRITIC), next_actor, next_critic)
        self._descend(loss, optimizers=("critic", "encoder"))
        return {"critic_loss": loss.detach(), "q_mean": value}

    def improve_actor(self, features: tuple[Tensor, ...]) -> Metrics:
        """Take one step of the actor and of its own layers of the encoder, and one of the temperature."""
        losses = self.actor_losses(features)
        self._descend(torch.stack(list(losses.values())).sum(), optimizers=("actor", "actor_encoder", "temperature"))
        return {name: loss.detach() for name, loss in losses.items()}

    @property
    def has_auxiliary_loss(self) -> bool:
        """Tell whether another loss than the critic's trains the encoder; SAC has none."""
        return False

    def improve_encoder(self, batch: Batch, queries: Tensor) -> Metrics:
        """Take the step of the auxiliary loss on the critic's features [B, F] of `batch.now`."""
        raise NotImplementedError

    def critic_loss(self, batch: Batch, now: Tensor, next_actor: Tensor, next_critic: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared errors of both critics, summed (Haarnoja et al. 2018, eq. 5-6), and their mean value.

        Args:
            now, next_critic: the critic's features [B, F] of `batch.now` and `batch.next`.
            next_actor: the actor's features of `batch.next`.
        """
        with torch.no_grad():
            action, log_probability = self.actor.sample(next_actor, self.random.policy)
            value = self.target.head(next_critic, action).amin(0) - self.temperature() * log_probability
            goal = batch.reward + batch.discount * value  # [B]
        values = self.online.head(now, batch.action)  # [2, B]
        errors = F.mse_loss(values, goal.expand_as(values), reduction="none")
        return (batch.weight * errors).mean(1).sum(), values.detach().mean()

    def actor_losses(self, features: tuple[Tensor, ...]) -> Metrics:
        """Return the losses of actor and temperature on both heads' features [B, F] (the same, eq. 7, 18)."""
        action, log_probability = self.actor.sample(features[ACTOR], self.random.policy)
        with _constant(self.online.head):
            value = self.online.head(features[CRITIC].detach(), action).amin(0)  # [B]
        temperature = self.temperature()
        surplus = self.actor.action_size - log_probability.detach().mean()  # entropy above its target, -A
        return {
            "actor_loss": (temperature.detach() * log_probability - value).mean(),
            "temperature_loss": temperature * surplus,
        }

    @torch.no_grad()
    def update_target(self) -> None:
        """Move those parts of the target that aren't frozen towards the online ones, running statistics included."""
        for tau, online, target in (
            (self.settings.critic_tau, self.online.head, self.target.head),
            (self.settings.encoder_tau, self.online.encoder, self.target.encoder),
        ):
            pairs = zip(_numbers(target), _numbers(online), strict=True)
            moving = [(slow, fast) for slow, fast in pairs if slow is not fast]
            if moving:
                torch._foreach_lerp_([slow for slow, _ in moving], [fast for _, fast in moving], tau)

    def renewed(self, fresh: Any, *, encoder: bool) -> list[tuple[nn.Module, nn.Module]]:
        """Return the modules that a reset renews, the temperature too: a fresh actor explores as at the start."""
        return [*super().renewed(fresh, encoder=encoder), (self.temperature, fresh.temperature)]

    def modules(self) -> dict[str, nn.Module]:
        """Return everything with parameters."""
        return {"online": self.online, "target": self.target, "actor": self.actor, "temperature": self.temperature}

    def generators(self) -> dict[str, RandomGenerator]:
        """Return every source of random numbers."""
        return {"policy": self.random.policy, "crops": self.random.crops, "actions": self.random.actions}

    def _make_optimizers(
        self,
        make: Callable[[Iterable[nn.Parameter]], Optimizer],
        make_for_temperature: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> dict[str, Optimizer]:
        encoder = self.online.encoder
        base, base_actor = _split(encoder.base_parameters(), encoder.own_parameters(ACTOR))
        above, above_actor = _split(encoder.above_parameters(), encoder.own_parameters(ACTOR))
        groups = {
            "critic": [*above, *self.online.head.parameters()],
            "encoder": base,
            "actor": [*above_actor, *self.actor.parameters()],
            "actor_encoder": base_actor,
        }
        # A module of one's own may have no parameters.
        optimizers = {name: make(group) for name, group in groups.items() if group}
        return optimizers | {"temperature": make_for_temperature(self.temperature.parameters())}

    def _passes_of_encoder(self, share: float) -> Passes:
        """Return the encoder's passes per update, the actor learning in a `share` of them.

        Critic: online on the observation, online and target on the next one, one backward pass; actor: one more.
        """
        return Passes(3 + share, 1)

    def _cost(self) -> Cost:
        """Return the passes per update, actor and temperature learning in a share 1 / `actor_every` of them.

        Actor: on the next observation and, in that share, on this one with a backward pass. Critic: online and target
        with one backward pass and, in that share, once more with a backward pass to its inputs alone. Encoder, while it
        learns: see `_passes_of_encoder`; a frozen one over stored frames passes once over each of the two observations.
        """
        base, above = self.online.encoder.multiply_adds()
        share = 1 / self.settings.actor_every
        learning, afterwards = self._passes_of_encoder(share), Sac._passes_of_encoder(self, share)
        frozen = {Phase.LATENTS: NO_PASSES, Phase.FROZEN_FRAMES: Passes(2, 0)}
        actor = dict.fromkeys(Phase, Passes(1 + share, share))
        critic = dict.fromkeys(Phase, Passes(2 + share, 1 + share / 2))
        return Cost(
            encoder=Part(base, {Phase.FRAMES: learning} | frozen),
            heads=(
                Part(self.actor.multiply_adds(), actor),
                Part(self.online.head.multiply_adds(), critic, acts=False),
                Part(above, dict.fromkeys(Phase, afterwards) | {Phase.FRAMES: learning}),
            ),
            batch_size=self.settings.batch_size,
            crops=self.latent.shape[0],
            encoders=self.latent.shape[1],
        )


@contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """Treat the module's parameters as constants inside `with`: gradients flow through, not into them."""
    module.requires_grad_(False)
    yield
    module.requires_grad_(True)


def _numbers(module: nn.Module) -> list[Tensor]:
    """Return all weights and, where a module of the user's own has batch norm, its running statistics."""
    return [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]


def _split(parameters: Iterable[nn.Parameter], of_actor: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], ...]:
    """Return the parameters that the critic's loss trains, and the actor's own."""
    own = {id(parameter) for parameter in of_actor}
    both = list(parameters)
    return [p for p in both if id(p) not in own], [p for p in both if id(p) in own]
