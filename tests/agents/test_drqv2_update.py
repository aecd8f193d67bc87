"""DrQ-v2's update against a slow, obvious one, written from the publication (Yarats et al. 2021, section 3.1).

The slow one keeps the weights that the publication has in one dictionary (it has no target encoder), has an Adam of its
own, and takes gradients of whole losses by autograd, all in float64.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seer.agents.drqv2 import DrqV2
from seer.core.phase import Phase
from seer.replay import Batch
from slow_adam import SlowAdam, Weights
from small_drqv2 import ACTIONS, NOISE_STEPS, PAD, SIDE, SIZE, make, random_batch

UPDATES = 5
CRITIC, ACTOR = 0, 1
TRUNK = "encoder.stages.4"
TRUNKS = {latent: (f"{TRUNK}.linear.{latent}.", f"{TRUNK}.norm.{latent}.") for latent in (CRITIC, ACTOR)}


class SlowAgent:
    """The published update, one loss after the other."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: weight for name, weight in weights.items() if _is_published(name)}
        names = list(self.weights)
        convolutions = [n for n in names if n.startswith("online.encoder") and not n.startswith(f"online.{TRUNK}")]
        trunk = {latent: [n for n in names if n.startswith(_of("online", latent))] for latent in TRUNKS}
        groups = {
            "encoder": convolutions,
            "critic_trunk": trunk[CRITIC],
            "critics": [n for n in names if n.startswith("online.head")],
            "actor_trunk": trunk[ACTOR],
            "actor": [n for n in names if n.startswith("actor")],
        }
        self.adam = {name: SlowAdam(self.weights, group, 1e-4, (0.9, 0.999)) for name, group in groups.items()}
        self.frozen = False

    def freeze(self) -> None:
        self.frozen = True
        for name in [n for n in self.weights if n.startswith(_of("target", CRITIC))]:
            self.weights[name] = self.weights[name.replace("target", "online")]

    def update(self, batch: Batch, step: int, shifts: torch.Generator, noise: torch.Generator) -> None:
        """One update after `step` decisions."""
        std = 1.0 + (0.1 - 1.0) * min(step / NOISE_STEPS, 1)
        first, second = ((std * torch.randn(SIZE, ACTIONS, generator=noise)).clamp(-0.3, 0.3) for _ in range(2))
        now, following = (self.look(frames, shifts) for frames in (batch.now, batch.next))
        maps = self.convolve(self.weights, now)
        self.learn(
            "encoder", "critic_trunk", "critics", loss=lambda w: self.critic_loss(w, batch, (now, following), first)
        )
        self.learn("actor_trunk", "actor", loss=lambda w: self.actor_loss(w, maps, second))
        for name in [n for n in self.weights if n.startswith("target")]:
            if not (self.frozen and ".encoder." in name):
                self.weights[name] = 0.99 * self.weights[name] + 0.01 * self.weights[name.replace("target", "online")]

    def learn(self, *optimizers: str, loss: Any) -> None:
        """One gradient of the loss, then one step of each optimiser."""
        leaves = {name: weight.clone().requires_grad_(True) for name, weight in self.weights.items()}
        found = torch.autograd.grad(loss(leaves), list(leaves.values()), allow_unused=True)
        gradients = dict(zip(leaves, found, strict=True))
        for name in optimizers:
            if not (self.frozen and name in ("encoder", "critic_trunk", "actor_trunk")):
                self.adam[name].step(gradients)

    def look(self, frames: Tensor, shifts: torch.Generator) -> Tensor:
        """Shifted pictures as pixels; stored latents as they are."""
        if self.frozen:
            return frames
        padded = F.pad(frames.reshape(SIZE, -1, SIDE, SIDE).double(), (PAD, PAD, PAD, PAD), mode="replicate")
        top = torch.randint(2 * PAD + 1, (SIZE,), generator=shifts).tolist()
        left = torch.randint(2 * PAD + 1, (SIZE,), generator=shifts).tolist()
        moved = [each[:, y : y + SIDE, x : x + SIDE] for each, y, x in zip(padded, top, left, strict=True)]
        return torch.stack(moved) / 255 - 0.5

    def convolve(self, w: Weights, pixels: Tensor) -> Tensor:
        if self.frozen:
            return pixels
        maps = pixels
        for layer, stride in enumerate((2, 1, 1, 1)):
            prefix = f"online.encoder.stages.{layer}"
            maps = F.relu(F.conv2d(maps, w[f"{prefix}.weight"], w[f"{prefix}.bias"], stride))
        return maps.permute(0, 2, 3, 1).reshape(SIZE, -1)

    def trunk(self, w: Weights, network: str, maps: Tensor, latent: int) -> Tensor:
        if self.frozen:
            return torch.tanh(maps[:, latent])
        prefix = f"{network}.{TRUNK}"
        units = maps @ w[f"{prefix}.linear.{latent}.weight"].T + w[f"{prefix}.linear.{latent}.bias"]
        centred = units - units.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return torch.tanh(scaled * w[f"{prefix}.norm.{latent}.weight"] + w[f"{prefix}.norm.{latent}.bias"])

    def layers(self, w: Weights, prefix: str, inputs: Tensor) -> Tensor:
        hidden = inputs
        for layer in (0, 2):
            hidden = F.relu(hidden @ w[f"{prefix}.{layer}.weight"].T + w[f"{prefix}.{layer}.bias"])
        return hidden @ w[f"{prefix}.4.weight"].T + w[f"{prefix}.4.bias"]

    def action(self, w: Weights, maps: Tensor, drawn: Tensor) -> Tensor:
        """The policy's actions with clipped noise; keeping them in range doesn't change their gradient."""
        moved = torch.tanh(self.layers(w, "actor.layers", self.trunk(w, "online", maps, ACTOR))) + drawn
        return moved + (moved.clamp(-1 + 1e-6, 1 - 1e-6) - moved).detach()

    def values(self, w: Weights, network: str, maps: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([self.trunk(w, network, maps, CRITIC), action], -1)
        first, second = (self.layers(w, f"{network}.head.{each}", inputs)[:, 0] for each in ("first", "second"))
        return first, second

    def critic_loss(self, w: Weights, batch: Batch, seen: tuple[Tensor, Tensor], drawn: Tensor) -> Tensor:
        now, following = (self.convolve(w, each) for each in seen)
        value = torch.minimum(*self.values(w, "target", following, self.action(w, following, drawn)))
        goal = (batch.reward + batch.discount * value).detach()
        first, second = self.values(w, "online", now, batch.action)
        return ((first - goal) ** 2).mean() + ((second - goal) ** 2).mean()

    def actor_loss(self, w: Weights, maps: Tensor, drawn: Tensor) -> Tensor:
        return -torch.minimum(*self.values(w, "online", maps, self.action(w, maps, drawn))).mean()


def _of(network: str, latent: int) -> tuple[str, ...]:
    return tuple(f"{network}.{part}" for part in TRUNKS[latent])


def _is_published(name: str) -> bool:
    return not name.startswith("target.encoder") or name.startswith(_of("target", CRITIC))


def _weights(agent: DrqV2) -> Weights:
    return {
        f"{module}.{name}": weight.detach().clone()
        for module, network in agent.modules().items()
        for name, weight in network.named_parameters()
    }


def make_float64() -> DrqV2:
    agent, _ = make()
    for module in agent.modules().values():
        module.double()  # the optimisers hold the same parameters
        for each in module.modules():
            if hasattr(each, "precision"):
                each.precision = torch.float64
    return agent


@pytest.mark.parametrize("frozen", [False, True], ids=["frames", "latents"])
def test_five_updates_are_those_of_the_publication(frozen: bool) -> None:
    agent = make_float64()
    slow = SlowAgent(_weights(agent))
    shifts, noise = torch.Generator().manual_seed(3), torch.Generator().manual_seed(5)
    agent.random.crops.manual_seed(3)
    agent.random.policy.manual_seed(5)
    before = _weights(agent)
    for number in range(UPDATES + 2 * frozen):
        if frozen and number == 2:  # after two updates on frames, in the middle of Adam's moments
            agent.freeze(Phase.LATENTS)
            slow.freeze()
        batch = random_batch(number, latents=slow.frozen, dtype=torch.float64)
        agent.decisions = 10 * number  # the noise falls, and past NOISE_STEPS no more
        agent.update(batch)
        slow.update(batch, 10 * number, shifts, noise)
    found = _weights(agent)
    for label, weight in slow.weights.items():
        torch.testing.assert_close(found[label], weight, rtol=1e-6, atol=1e-8, msg=lambda m, n=label: f"{n}: {m}")
        assert not torch.equal(found[label], before[label]), label
    for label in set(found) - set(slow.weights):  # what the publication has once
        assert torch.equal(found[label], found[label.replace("target", "online")])
