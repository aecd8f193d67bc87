"""DrQ-v2 (Yarats et al. 2021, "Mastering Visual Continuous Control"): DDPG on shifted pictures, with SEER's freeze.

Axes: B batch, S stack, C channels, H, W, K crops (here shifts), N latents per observation, L latent size,
F feature size, A action dimensions.
"""

import functools
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from seer.agents.actor_critic import ACTOR, CRITIC, ActorCritic, Metrics, constant
from seer.agents.agent import EncodedNetwork, Update
from seer.agents.inputs import AgentInputs, adam
from seer.agents.settings import OwnSettings
from seer.core.flops import Cost, Passes
from seer.core.stages import Inputs
from seer.fields import Bounds, Count, Positive
from seer.networks.actor_critic import TwinCritic
from seer.networks.drqv2 import CentredPixels, DeterministicActor, TanhTwinCritic, initialize_orthogonal, random_shift
from seer.networks.own_module import made_here
from seer.replay import Batch

LARGEST_ACTION = 1 - 1e-6
"""Largest noisy action, on either side of 0; from the published code."""

Noise = Annotated[float, Bounds(at_least=0, at_most=1000)]


@dataclass(frozen=True)
class DrqV2Settings(OwnSettings):
    """DrQ-v2."""

    shift: Annotated[int, Bounds(above=0, at_most=1024)] = 4
    """Pixels by which pictures are shifted at most, in either direction (Yarats et al. 2021, section 3.1)."""

    noise_start: Noise = 1.0
    """Standard deviation of the actions' noise at first (Yarats et al. 2021, table of settings)."""

    noise_end: Noise = 0.1
    """Standard deviation from --noise-steps on (the same table)."""

    noise_steps: Count = 100_000
    """Steps over which the noise falls, linearly: 100,000 for easy tasks, 500,000 for medium ones, 2,000,000 for
    humanoids (the same table; it names no unit, and the published code counts steps, not frames)."""

    noise_clip: Positive = 0.3
    """Largest noise of actions that an update draws (the same table)."""


class DrqV2(ActorCritic):
    """Learn by the deterministic policy gradient with two critics, from frames, then from stored latents.

    There is no target encoder: the target's critic reads the online convolutions' outputs, through a trunk of its own,
    which follows the online one until the freeze makes them one.

    Args:
        tau: share of the online critic in each move of the target, every `target_every` updates.
    """

    def __init__(
        self,
        network: EncodedNetwork[TwinCritic],
        actor: DeterministicActor,
        settings: DrqV2Settings,
        *,
        batch_size: int,
        target_every: int,
        tau: float,
        **parts: Any,
    ) -> None:
        super().__init__(network, actor, **parts)
        self.settings, self.target_every, self.tau = settings, target_every, tau
        self._tie_target()
        self.cost = self._cost(batch_size)

    # Acting ----------------------------------------------------------------------------------------------------

    def best(self, features: Tensor) -> Tensor:
        """Return the policy's actions [B, A]."""
        return self.actor(features)  # type: ignore[no-any-return]

    def exploring(self, features: Tensor) -> Tensor:
        """Return the policy's actions [B, A] with noise."""
        return self.noisy(self.actor(features))

    @property
    def noise(self) -> float:
        """Return the standard deviation of the actions' noise, by the decisions so far (section 3.1)."""
        start, end = self.settings.noise_start, self.settings.noise_end
        return start + (end - start) * min(self.decisions / self.settings.noise_steps, 1.0)

    def noisy(self, actions: Tensor, clip: float | None = None) -> Tensor:
        """Return actions [B, A] with noise of `clip` at most; the gradient passes as if they weren't kept in range."""
        noise = self.noise * torch.randn(actions.shape, generator=self.random.policy, device=actions.device)
        moved = actions + (noise if clip is None else noise.clamp(-clip, clip))
        return moved + (moved.clamp(-LARGEST_ACTION, LARGEST_ACTION) - moved).detach()

    # Learning --------------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Update:
        """Take the steps of one update in the published order: critic and encoder, actor, target.

        All three read the same pass through the convolutions, from before the critic's step.
        """
        encoder = self.online.encoder
        below = encoder.embed_below(encoder.prepare(batch.now))
        metrics = self.improve_critic(batch, below, encoder.prepare(batch.next))
        metrics |= self.improve_actor(below.detach())
        if self.updates % self.target_every == 0:
            self.update_target()
        self.updates += 1
        return Update(metrics, priority=None)

    def improve_critic(self, batch: Batch, below: Inputs, following: Inputs) -> Metrics:
        """Take one step of critics and encoder; `below` as `embed_below` gives it, `following` as `prepare` does."""
        loss, value = self.critic_loss(batch, self.online.encoder.embed_last(below, CRITIC), following)
        self._descend(loss, optimizers=("critic", "encoder"))
        return {"critic_loss": loss.detach(), "q_mean": value}

    def improve_actor(self, below: Inputs) -> Metrics:
        """Take one step of the actor and its trunk, towards actions of higher value to the improved critics."""
        loss = self.actor_loss(below)
        self._descend(loss, optimizers=("actor", "actor_encoder"))
        return {"actor_loss": loss.detach()}

    def critic_loss(self, batch: Batch, now: Tensor, following: Inputs) -> tuple[Tensor, Tensor]:
        """Return the squared errors of both critics on features [B, F], summed, and their mean value (section 3.1)."""
        with torch.no_grad():
            features = self.target.encoder.embed(following)  # its actor's trunk is the online one
            action = self.noisy(self.actor(features[ACTOR]), self.settings.noise_clip)
            goal = batch.reward + batch.discount * self.target.head(features[CRITIC], action).amin(0)  # [B]
        values = self.online.head(now, batch.action)  # [2, B]
        return (values - goal).square().mean(1).sum(), values.detach().mean()

    def actor_loss(self, below: Inputs) -> Tensor:
        """Return the negative mean of the critics' lower value of the policy's noisy actions (section 3.1)."""
        encoder, critics = self.online.encoder, self.online.head
        action = self.noisy(self.actor(encoder.embed_last(below, ACTOR)), self.settings.noise_clip)
        with constant(critics):
            loss: Tensor = -critics(encoder.embed_last(below, CRITIC).detach(), action).amin(0).mean()
        return loss

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target's critics and, until the freeze, their trunk towards the online ones."""
        pairs = zip(self.target.parameters(), self.online.parameters(), strict=True)
        slow, fast = zip(*((slow, fast) for slow, fast in pairs if slow is not fast), strict=True)
        torch._foreach_lerp_(slow, fast, self.tau)

    def _tie_target(self) -> None:
        """Let the target read through the online encoder, but for the critic's trunk."""
        ours, theirs = self.online.encoder.stages, self.target.encoder.stages
        for index in range(len(ours) - 1):
            theirs[index] = ours[index]
        for layers in ("linear", "norm"):
            getattr(theirs[-1], layers)[ACTOR] = getattr(ours[-1], layers)[ACTOR]

    def _cost(self, batch_size: int) -> Cost:
        """Return the passes per update: encoder on both observations, with one backward pass; actor the same.

        Critics: the target's on the next observation, the online ones on this one with a backward pass and, for the
        actor, once more with a backward pass to their inputs alone.
        """
        both, critics = Passes(2, 1), Passes(3, 1.5)
        return self.count_passes(batch_size, encoder=both, above=both, actor=both, critic=critics)


def make(inputs: AgentInputs) -> DrqV2:
    """Make DrQ-v2."""
    learning, sac, own = inputs.learning, inputs.sac, inputs.own
    assert isinstance(own, DrqV2Settings)
    generators = inputs.generators()
    # A module of the user's own reads pixels in [0, 1], not centred ones.
    pixels = {} if inputs.brings_encoder else {"pixels": CentredPixels(inputs.precision)}
    encoder = inputs.make_encoder(
        projections=2,
        augment=functools.partial(random_shift, pad=own.shift, generator=generators.crops),
        num_crops=inputs.num_crops,
        **pixels,
    )
    sizes = inputs.control_sizes(encoder) | {"trunk_size": inputs.sac.latent_size}
    network: EncodedNetwork[TwinCritic] = EncodedNetwork(encoder, TanhTwinCritic(**sizes))
    actor = DeterministicActor(**sizes)
    for part in (*made_here(encoder.stages), network.head, actor):
        part.apply(initialize_orthogonal)
    return DrqV2(
        network.to(inputs.device),
        actor.to(inputs.device),
        own,
        batch_size=learning.batch_size,
        random_steps=sac.random_steps,
        target_every=learning.target_every,
        tau=sac.critic_tau,
        make_optimizer=adam(learning.learning_rate, eps=learning.adam_epsilon),
        generators=generators,
    )
