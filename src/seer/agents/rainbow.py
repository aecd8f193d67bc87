"""Rainbow (Hessel et al. 2018) and, with its parts off, DQN (Mnih et al. 2015), with SEER's freeze.

The parts that are given to the agent switch Rainbow's on or off: the head (dueling, noisy), the value (categorical or
scalar), `double`, `epsilon`; n-step returns and priorities are the replay's.

Axes: B batch, S stack, C channels, H, W, K crops (1), N latents per observation (1), L latent size,
F feature size, A actions, Z atoms.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seer.agents.agent import Agent, EncodedNetwork, RandomGenerator, Update
from seer.agents.losses import CategoricalValue, ScalarValue
from seer.agents.optimizers import MakeOptimizer
from seer.core.flops import cost_of
from seer.networks.heads import Noise, ValueHead
from seer.replay import Batch


@dataclass(frozen=True)
class Epsilon:
    """Lower epsilon linearly from `start` to `end` over `steps` steps, for agents without noisy layers."""

    start: float
    end: float
    steps: int

    def at(self, step: int) -> float:
        """Return epsilon at training step `step`."""
        return self.start + (self.end - self.start) * min(1.0, step / max(1, self.steps))


class Rainbow(Agent[ValueHead]):
    """Learn Q-values from frames, then from stored latents.

    Args:
        double: choose the next action with the online network (van Hasselt et al. 2016).
        target_every: updates between copies of the online network to the target.
        max_gradient_norm: largest norm of the gradients of encoder and head together.
        epsilon: epsilon-greedy exploration in `explore`; `act` is always greedy.
        generator: of the noise of noisy layers, on the network's device.
        rng: of epsilon-greedy choices.
    """

    def __init__(
        self,
        network: EncodedNetwork[ValueHead],
        value: CategoricalValue | ScalarValue,
        *,
        double: bool,
        batch_size: int,
        target_every: int,
        make_optimizer: MakeOptimizer,
        max_gradient_norm: float,
        epsilon: Epsilon,
        generator: torch.Generator,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(network)
        self.value, self.double, self.target_every = value, double, target_every
        self.max_gradient_norm, self.epsilon = max_gradient_norm, epsilon
        self.generator, self.rng = generator, rng
        self.optimizers = {
            "head": make_optimizer([*network.encoder.above_parameters(), *network.head.parameters()]),
        }
        if network.encoder.base_parameters():  # a module of one's own may have none
            self.optimizers["encoder"] = make_optimizer(network.encoder.base_parameters())
        encoder, above = network.encoder.multiply_adds()
        # Forward: online on the observation, target on the next one, and with double Q online on the next one too.
        forwards = 3 if double else 2
        head = above + network.head.multiply_adds()
        self.cost = cost_of(encoder=encoder, head=head, batch_size=batch_size, forwards=forwards)

    # Acting ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def explore(self, observation: np.ndarray) -> tuple[int, Tensor]:
        (features,), row = self.online.encoder.observe(observation)
        action = int(self._greedy(features, self.online.head.draw_noise(self.generator)))
        if self.rng.random() < self.epsilon.at(self.decisions):
            action = int(self.rng.integers(self.online.head.num_actions))
        self.decisions += 1
        return action, self._newest(row)

    @torch.no_grad()
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return greedy actions [B] int64 for observations [B, S, C, H, W] uint8, without noise."""
        (features,) = self.online.encoder.finish(self.encode(self._to_device(observations))[:, 0])
        return self._greedy(features).cpu().numpy()

    def _greedy(self, features: Tensor, noises: Sequence[Noise] = ()) -> Tensor:
        return self.value.expected(self.online.head(features, noises)).argmax(-1)

    @torch.no_grad()
    def judge(self, latents: Tensor, network: EncodedNetwork[ValueHead]) -> tuple[Tensor, Tensor]:
        """Return greedy actions [B] and their Q-values [B], without noise, of latents [B, N, L]."""
        (features,) = network.encoder.finish(latents)
        value, action = self.value.expected(network.head(features)).max(-1)
        return action, value

    # Learning --------------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Update:
        """Take one gradient step on the mean importance-weighted error; the errors [B] make the new priorities."""
        noises = [network.head.draw_noise(self.generator) for network in (self.online, self.target)]
        loss, error, value = self.loss(batch, self.embed(batch), noises)
        gradient_norm = self._descend(loss, self.max_gradient_norm)
        self.updates += 1
        self.update_target()
        metrics = {"loss": loss.detach(), "q_mean": value}
        if gradient_norm is not None:
            metrics["gradient_norm"] = gradient_norm
        return Update(metrics, priority=self.value.priority(error))

    def update_target(self) -> None:
        """Copy the online network to the target, once in `target_every` updates."""
        if self.updates % self.target_every == 0:
            self.target.load_state_dict(self.online.state_dict())

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return features [B, F] of `now` (online), `next` (online) and `next` (target).

        Without double Q-learning the target's stand in the second place too.
        """
        online, target = self.online.encoder, self.target.encoder
        (now,) = online.embed(online.prepare(batch.now))
        with torch.no_grad():
            following = online.prepare(batch.next)
            (next_target,) = target.embed(following)
            (next_online,) = online.embed(following) if self.double else (next_target,)
        return now, next_online, next_target

    def loss(
        self, batch: Batch, features: tuple[Tensor, Tensor, Tensor], noises: Sequence[Sequence[Noise]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the errors [B] whose weighted mean it is, and the mean Q-value of the taken actions.

        Args:
            features: as `embed` gives them.
            noises: the online head's, which both its passes share, and the target's.
        """
        now, next_online, next_target = features
        noise_online, noise_target = noises
        online, target = self.online.head, self.target.head
        samples = torch.arange(len(now), device=self.device)
        weights = online.weights(noise_online)
        outputs = online.outputs(now, weights)[samples, batch.action]  # [B, Z]
        with torch.no_grad():
            next_outputs = target.outputs(next_target, target.weights(noise_target))  # [B, A, Z]
            chooser = online.outputs(next_online, weights) if self.double else next_outputs
            best = self.value.expected(chooser).argmax(-1)  # [B]
        error = self.value.error(outputs, next_outputs[samples, best], batch.reward, batch.discount)  # [B]
        return (batch.weight * error).mean(), error.detach(), self.value.expected(outputs.detach()).mean()

    def compile_loss(self) -> None:
        """Let `loss` be compiled at its first call, and anew after the freeze: fewer and larger operations."""
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # more are processes that stay
        torch.compiler.reset()  # what it knows of another agent's loss would make it fail
        self.loss = torch.compile(self.loss, dynamic=False)  # type: ignore[method-assign]

    def modules(self) -> dict[str, nn.Module]:
        return {"online": self.online, "target": self.target}

    def generators(self) -> dict[str, RandomGenerator]:
        return {"noise": self.generator, "exploration": self.rng}
