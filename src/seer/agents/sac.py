"""SAC (Haarnoja et al. 2018) from pixels, with the encoder of SAC-AE (Yarats et al. 2019) and SEER's freeze.

Axes: B batch, S stack, C channels, H, W, K crops, N latents per observation, L latent size, F feature
size, A actions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seer.agents.actor_critic import ACTOR, CRITIC, ActorCritic, Metrics, constant
from seer.agents.agent import EncodedNetwork, Update
from seer.agents.optimizers import MakeOptimizer
from seer.agents.settings import SacConfig
from seer.core.flops import Cost, Passes
from seer.core.stages import Inputs
from seer.networks.actor_critic import Actor, Temperature, TwinCritic
from seer.replay import Batch


class Sac(ActorCritic):
    """Learn by soft actor-critic from frames, then from stored latents.

    An update takes the steps of the published code in its order: the critic's, then, on a fresh pass through the
    encoder that this step has changed, the actor's, then the target's. An optimiser more: "temperature".

    Args:
        target_every: updates between two moves of the target.
        make_temperature_optimizer: makes that of the temperature's logarithm.
    """

    actor: Actor

    def __init__(
        self,
        network: EncodedNetwork[TwinCritic],
        actor: Actor,
        settings: SacConfig,
        *,
        batch_size: int,
        target_every: int,
        make_temperature_optimizer: MakeOptimizer,
        **parts: Any,
    ) -> None:
        super().__init__(network, actor, random_steps=settings.random_steps, **parts)
        self.settings, self.target_every = settings, target_every
        self.temperature = Temperature(settings.initial_temperature).to(self.device)
        self.optimizers["temperature"] = make_temperature_optimizer(self.temperature.parameters())
        self.cost = self._cost(batch_size)

    def best(self, features: Tensor) -> Tensor:
        """Return the policy's mean actions [B, A]."""
        return torch.tanh(self.actor(features)[0])

    def exploring(self, features: Tensor) -> Tensor:
        """Return actions [B, A] that the policy draws."""
        return self.actor.sample(features, self.random.policy)[0]

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
        if self.updates % self.target_every == 0:
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
        with constant(self.online.head):
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

    def renewed(self, fresh: Any) -> list[tuple[nn.Module, nn.Module]]:
        """Return the modules that a reset renews, the temperature too: a fresh actor explores as at the start."""
        return [*super().renewed(fresh), (self.temperature, fresh.temperature)]

    def modules(self) -> dict[str, nn.Module]:
        return super().modules() | {"temperature": self.temperature}

    def _passes_of_encoder(self, share: float) -> Passes:
        """Return the encoder's passes per update, the actor learning in a `share` of them.

        Critic: online on the observation, online and target on the next one, one backward pass; actor: one more.
        """
        return Passes(3 + share, 1)

    def _cost(self, batch_size: int) -> Cost:
        """Return the passes per update, actor and temperature learning in a share 1 / `actor_every` of them.

        Actor: on the next observation and, in that share, on this one with a backward pass. Critic: online and target
        with one backward pass and, in that share, once more with a backward pass to its inputs alone. Encoder: see
        `_passes_of_encoder`.
        """
        share = 1 / self.settings.actor_every
        return self.count_passes(
            batch_size,
            encoder=self._passes_of_encoder(share),
            above=Sac._passes_of_encoder(self, share),
            actor=Passes(1 + share, share),
            critic=Passes(2 + share, 1 + share / 2),
        )


def _numbers(module: nn.Module) -> list[Tensor]:
    """Return all weights and, where a module of the user's own has batch norm, its running statistics."""
    return [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]
