"""SAC's and CURL's update against a slow, obvious one, written from the description of the published code.

The slow one keeps all weights in one dictionary, has an Adam of its own, passes the encoder anew for every loss, and
takes gradients of the whole loss by autograd, all in float64.
"""

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seer.agents.sac import Sac
from seer.core.phase import Phase
from seer.replay import Batch
from slow_adam import SlowAdam, Weights
from small_sac import ACTIONS, CROP, SIDE, make, make_config

SIZE, UPDATES = 6, 5
CRITIC, ACTOR = 0, 1


class SlowAgent:
    """The published update, one loss after the other."""

    def __init__(self, agent: Sac, *, contrastive_steps: int) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in _weights(agent).items()}
        self.contrastive_steps = contrastive_steps
        encoder = [n for n in self.weights if n.startswith("online.encoder")]
        actors_own = [
            n for n in encoder if n.startswith(("online.encoder.stages.4.linear.1", "online.encoder.stages.4.norm.1"))
        ]
        self.critic_side = [n for n in encoder if n not in actors_own]
        self.critics = [n for n in self.weights if n.startswith("online.head")]
        self.actor = [n for n in self.weights if n.startswith("actor")]
        betas = (0.9, 0.999)
        self.adam = {
            "critics": SlowAdam(self.weights, self.critics, 1e-3, betas),
            "critic_encoder": SlowAdam(self.weights, self.critic_side, 1e-3, betas),
            "actor": SlowAdam(self.weights, self.actor, 1e-3, betas),
            "actor_encoder": SlowAdam(self.weights, actors_own, 1e-3, betas),
            "temperature": SlowAdam(self.weights, ["temperature.log"], 1e-4, (0.5, 0.999)),
        }
        if "similarity.weight" in self.weights:
            names = [*self.critic_side, "similarity.weight"]
            self.adam["contrastive"] = SlowAdam(self.weights, names, 1e-3, betas)
        self.frozen = False

    def update(self, number: int, batch: Batch, crops: torch.Generator, noise: torch.Generator) -> None:
        """The `number`th update, from 0."""
        now, following = (self.look(frames, crops) for frames in (batch.now, batch.next))
        self.learn("critics", "critic_encoder", loss=lambda w: self.critic_loss(w, batch, now, following, noise))
        if number % 2 == 0:
            drawn = torch.randn(SIZE, ACTIONS, generator=noise)
            losses = lambda w: self.actor_and_temperature_loss(w, now, drawn)  # noqa: E731
            self.learn("actor", "actor_encoder", "temperature", loss=losses)
            for name in [n for n in self.weights if n.startswith("target")]:
                online = self.weights[name.replace("target", "online")]
                rate = 0.05 if ".encoder." in name else 0.01
                if not (self.frozen and ".encoder." in name):
                    self.weights[name] = (1 - rate) * self.weights[name] + rate * online
        if "contrastive" in self.adam and not self.frozen:
            other = self.look(batch.now, crops)
            steps = ("critic_encoder", "contrastive")[2 - self.contrastive_steps :]
            self.learn(*steps, loss=lambda w: self.contrastive_loss(w, now, other))

    def learn(self, *optimizers: str, loss: Any) -> None:
        """One gradient of the loss, then one step of each optimiser."""
        leaves = {name: weight.clone().requires_grad_(True) for name, weight in self.weights.items()}
        found = torch.autograd.grad(loss(leaves), list(leaves.values()), allow_unused=True)
        gradients = dict(zip(leaves, found, strict=True))
        for name in optimizers:
            if not (self.frozen and name in ("critic_encoder", "actor_encoder", "contrastive")):
                self.adam[name].step(gradients)

    def look(self, frames: Tensor, crops: torch.Generator) -> Tensor:
        """Random crops as pixels; stored latents as they are."""
        if self.frozen:
            return frames
        top = torch.randint(SIDE - CROP + 1, (SIZE,), generator=crops).tolist()
        left = torch.randint(SIDE - CROP + 1, (SIZE,), generator=crops).tolist()
        cut = [each[..., y : y + CROP, x : x + CROP] for each, y, x in zip(frames, top, left, strict=True)]
        return torch.stack(cut).reshape(SIZE, -1, CROP, CROP).double() / 255

    def encode(
        self, w: Weights, network: str, seen: Tensor, latent: int, *, stop_before_projection: bool = False
    ) -> Tensor:
        if self.frozen:
            return seen[:, latent]
        prefix = f"{network}.encoder.stages"
        maps = seen
        for layer, stride in enumerate((2, 1, 1, 1)):
            maps = F.relu(F.conv2d(maps, w[f"{prefix}.{layer}.weight"], w[f"{prefix}.{layer}.bias"], stride))
        if stop_before_projection:
            maps = maps.detach()
        flat = maps.permute(0, 2, 3, 1).reshape(SIZE, -1)
        units = flat @ w[f"{prefix}.4.linear.{latent}.weight"].T + w[f"{prefix}.4.linear.{latent}.bias"]
        centred = units - units.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{prefix}.4.norm.{latent}.weight"] + w[f"{prefix}.4.norm.{latent}.bias"]

    def layers(self, w: Weights, prefix: str, inputs: Tensor) -> Tensor:
        hidden = inputs
        for layer in (0, 2):
            hidden = F.relu(hidden @ w[f"{prefix}.{layer}.weight"].T + w[f"{prefix}.{layer}.bias"])
        return hidden @ w[f"{prefix}.4.weight"].T + w[f"{prefix}.4.bias"]

    def policy(self, w: Weights, latent: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.layers(w, "actor.layers", latent).split(ACTIONS, -1)
        log_std = -10 + 6 * (torch.tanh(raw) + 1)
        before = mean + log_std.exp() * drawn
        action = torch.tanh(before)
        normal = -0.5 * drawn**2 - log_std - 0.5 * math.log(2 * math.pi)
        return action, (normal - torch.log1p(-(action**2))).sum(-1)

    def critic(self, w: Weights, network: str, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([latent, action], -1)
        first, second = (self.layers(w, f"{network}.head.{each}", inputs)[:, 0] for each in ("first", "second"))
        return first, second

    def critic_loss(self, w: Weights, batch: Batch, now: Tensor, following: Tensor, noise: torch.Generator) -> Tensor:
        drawn = torch.randn(SIZE, ACTIONS, generator=noise)
        action, log_probability = self.policy(w, self.encode(w, "online", following, ACTOR), drawn)
        value = torch.minimum(*self.critic(w, "target", self.encode(w, "target", following, CRITIC), action))
        goal = batch.reward + batch.discount * (value - w["temperature.log"].exp() * log_probability)
        first, second = self.critic(w, "online", self.encode(w, "online", now, CRITIC), batch.action)
        return ((first - goal.detach()) ** 2).mean() + ((second - goal.detach()) ** 2).mean()

    def actor_and_temperature_loss(self, w: Weights, now: Tensor, drawn: Tensor) -> Tensor:
        latent = self.encode(w, "online", now, ACTOR, stop_before_projection=True)
        action, log_probability = self.policy(w, latent, drawn)
        value = torch.minimum(*self.critic(w, "online", self.encode(w, "online", now, CRITIC).detach(), action))
        temperature = w["temperature.log"].exp()
        actor = (temperature.detach() * log_probability - value).mean()
        return actor + (temperature * (-log_probability - -ACTIONS).detach()).mean()

    def contrastive_loss(self, w: Weights, now: Tensor, other: Tensor) -> Tensor:
        queries = self.encode(w, "online", now, CRITIC)
        keys = self.encode(w, "target", other, CRITIC).detach()
        table = queries @ w["similarity.weight"] @ keys.T
        return -(table.diagonal() - table.logsumexp(-1)).mean()


def _weights(agent: Sac) -> Weights:
    return {
        f"{module}.{name}": weight
        for module, network in agent.modules().items()
        for name, weight in network.named_parameters()
    }


def random_batch(seed: int, *, latents: bool) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def observation() -> Tensor:
        if latents:
            return torch.randn(SIZE, 2, 50, generator=generator, dtype=torch.float64)
        return torch.randint(0, 256, (SIZE, 3, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)

    return Batch(
        now=observation(),
        action=torch.rand(SIZE, ACTIONS, generator=generator, dtype=torch.float64) * 2 - 1,
        reward=torch.randn(SIZE, generator=generator, dtype=torch.float64),
        next=observation(),
        discount=torch.where(torch.rand(SIZE, generator=generator) < 0.2, 0.0, 0.99).double(),
        weight=torch.ones(SIZE, dtype=torch.float64),
        index=np.arange(SIZE),
    )


def make_float64(name: str, contrastive_steps: int) -> Sac:
    config = make_config(name)
    config = dataclasses.replace(config, sac=dataclasses.replace(config.sac, contrastive_steps=contrastive_steps))
    agent, _ = make(config)
    modules = [
        agent.online,
        agent.target,
        agent.actor,
        agent.temperature,
        *([agent.similarity] if name == "curl" else []),
    ]
    for module in modules:
        module.double()  # the optimisers hold the same parameters
    for encoder in (agent.online.encoder, agent.target.encoder):
        for module in (encoder, encoder.pixels):
            module.precision = torch.float64
    for perceptron in (
        agent.actor.layers,
        agent.online.head.first,
        agent.online.head.second,
        agent.target.head.first,
        agent.target.head.second,
    ):
        perceptron.precision = torch.float64
    return agent


@pytest.mark.parametrize("frozen", [False, True], ids=["frames", "latents"])
@pytest.mark.parametrize(("name", "contrastive_steps"), [("sac", 2), ("curl", 2), ("curl", 1)])
def test_five_updates_are_those_of_the_published_code(name: str, contrastive_steps: int, frozen: bool) -> None:
    agent = make_float64(name, contrastive_steps)
    slow = SlowAgent(agent, contrastive_steps=contrastive_steps)
    slow_crops, slow_noise = torch.Generator().manual_seed(3), torch.Generator().manual_seed(5)
    agent.random.crops.manual_seed(3)
    agent.random.policy.manual_seed(5)
    for number in range(UPDATES + 2 * frozen):
        if frozen and number == 2:  # after two updates on frames, in the middle of Adam's moments
            agent.freeze(Phase.LATENTS)
            slow.frozen = True
            for each in [n for n in slow.weights if n.startswith("target.encoder")]:
                slow.weights[each] = slow.weights[each.replace("target", "online")]
        batch = random_batch(number, latents=slow.frozen)
        agent.update(batch)
        slow.update(number, batch, slow_crops, slow_noise)
    for label, weight in _weights(agent).items():
        torch.testing.assert_close(
            weight.detach(), slow.weights[label], rtol=1e-6, atol=1e-8, msg=lambda m, n=label: f"{n}: {m}"
        )


def test_the_order_of_the_steps_shows() -> None:
    """The comparison above would tell one contrastive step from two."""
    two, one = make_float64("curl", 2), SlowAgent(make_float64("curl", 2), contrastive_steps=1)
    crops, noise = torch.Generator().manual_seed(3), torch.Generator().manual_seed(5)
    two.random.crops.manual_seed(3)
    two.random.policy.manual_seed(5)
    batch = random_batch(0, latents=False)
    two.update(copy.deepcopy(batch))
    one.update(0, batch, crops, noise)
    first = "online.encoder.stages.0.weight"
    assert (dict(_weights(two))[first] - one.weights[first]).abs().max() > 1e-4
