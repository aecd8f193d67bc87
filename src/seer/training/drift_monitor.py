"""Check after the freeze whether the frozen encoder still fits what the agent sees, and whether the heads can learn.

The monitor measures and warns; it changes nothing, draws no random number and, like evaluation, counts no FLOPs.

Axes: B observations, N latents per observation, L latent.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.agents.activations import OUTPUT, head_activations
from seer.agents.agent import Agent
from seer.core.encoder import FreezableEncoder
from seer.core.similarity import dormant_share, effective_rank
from seer.replay import MultiEnvReplay, Replay

CHUNK = 32  # observations encoded at a time, so that a measurement needs no more memory than an update
DRIFT, DORMANT, RISE, RANK = 2.0, 0.6, 0.25, 1 / 3
"""Thresholds of the warnings. DRIFT: observations are so many times as far from those before the freeze as they
were at it, or their features so many times as large or small. DORMANT, RISE: this share of hidden units is dormant, and
it has risen by so much since the freeze. RANK: the rank is below this share of the rank at the freeze. Fresh heads,
as after a reset, cause no warning: on Alien and BankHeist half of their units are dormant, and a trained head's rank is
twice theirs."""
NEAREST = 0.01
"""Share of the norm at the freeze that is the least distance: observations nearer to each other, as those of an agent
that stands still are, count as this far apart."""


@torch.no_grad()
def encode_views(agent: Agent[Any], encoder: FreezableEncoder, frames: Tensor) -> Tensor:
    """Return the latents [B, N, L] at the cut of stacked frames [B, S, C, H, W] uint8, as acting sees them."""
    chunks = agent.view(frames).split(CHUNK)
    return torch.cat([encoder.encode(encoder.inputs(chunk)) for chunk in chunks])


def read_latents(agent: Agent[Any], replay: Replay | MultiEnvReplay, ids: NDArray[np.int64]) -> Tensor:
    """Return latents [B, N, L] of stored observations: the first crop's where stored, else as acting sees them."""
    stored = replay.read(ids)
    return stored[:, 0] if replay.holds_latents else encode_views(agent, agent.online.encoder, stored)


class DriftMonitor:
    """Compare a frozen run with itself at the freeze.

    Args:
        observations: number of stored observations that are measured each time.
        every: the newest steps, over which they are spread.

    Attributes:
        at_freeze: the metrics at the freeze; empty before the first measurement.
    """

    def __init__(self, *, observations: int, every: int) -> None:
        self.observations, self.every = observations, every
        self._seen: Tensor | None = None  # latents [B, N * L] of observations from all over the replay, at the freeze
        self.at_freeze: dict[str, float] = {}
        self._warned: set[str] = set()

    def measure(self, agent: Agent[Any], replay: Replay | MultiEnvReplay) -> dict[str, float] | None:
        """Return metrics of the newest observations, relative to the freeze where they have no unit of their own.

        The first call, at the freeze or as soon as enough observations are stored, sets the reference of the others
        and returns None. Every call while fewer are stored returns None too: of few, the rank is always low.
        """
        if replay.size < self.observations:
            return None
        newest = replay.recent(self.observations, span=self.every)
        now = read_latents(agent, replay, newest)
        if self._seen is None:
            ids = replay.recent(self.observations, span=replay.size)
            self._seen = read_latents(agent, replay, ids).flatten(1).clone()
            self.at_freeze = self._measure(agent, now, same=torch.from_numpy(newest[:, None] == ids))
            return None
        metrics = self._measure(agent, now)
        norm, distance = self.at_freeze["feature_norm"], self.at_freeze["feature_distance"]
        metrics["feature_norm"] /= max(norm, 1e-12)
        metrics["feature_distance"] /= max(distance, NEAREST * norm, 1e-12)
        return metrics

    def warnings(self, metrics: dict[str, float]) -> list[str]:
        """Return a line for each trouble that no earlier call returned."""
        distance, norm = metrics["feature_distance"], metrics["feature_norm"]
        troubles = {
            "distance": (
                distance > DRIFT,
                f"the frozen encoder hasn't learnt from what the agent now sees: observations lie {distance:.1f} "
                "times as far from those of before as they did at the freeze; freeze later, or fewer layers",
            ),
            "norm": (
                not 1 / DRIFT < norm < DRIFT,
                f"the frozen features of the newest observations are {norm:.1f} times as large as at the freeze; "
                "freeze later, or fewer layers",
            ),
            "dormant": (
                metrics["dormant_share"] > max(DORMANT, self.at_freeze["dormant_share"] + RISE),
                f"{metrics['dormant_share']:.0%} of the heads' hidden units are dormant, so they may learn little "
                "more; --reset-heads-every gives them fresh weights",
            ),
            "rank": (
                metrics["effective_rank"] < RANK * self.at_freeze["effective_rank"],
                f"the heads' effective rank fell from {self.at_freeze['effective_rank']:.0f} at the freeze to "
                f"{metrics['effective_rank']:.0f}, so they may learn little more; --reset-heads-every gives them fresh "
                "weights",
            ),
        }
        new = {name: line for name, (wrong, line) in troubles.items() if wrong and name not in self._warned}
        self._warned |= new.keys()
        return list(new.values())

    def _measure(self, agent: Agent[Any], latents: Tensor, *, same: Tensor | None = None) -> dict[str, float]:
        """Return the median distance to the nearest latents seen at the freeze, their mean norm, and the heads' health.

        `same` [B, seen] marks the pairs that are one observation, which is no neighbour of its own.
        """
        assert self._seen is not None
        flat = latents.flatten(1)
        distances = torch.cdist(flat, self._seen)
        if same is not None:
            distances[same.to(distances.device)] = torch.inf
        layers = {name: units for name, units in head_activations(agent, latents).items() if OUTPUT not in name}
        shares = torch.tensor([[dormant_share(units), units.shape[1]] for units in layers.values()], dtype=torch.double)
        return {
            "feature_distance": float(distances.amin(1).median()),
            "feature_norm": float(flat.norm(dim=1).mean()),
            "dormant_share": float(shares[:, 0] @ shares[:, 1] / shares[:, 1].sum()),
            "effective_rank": float(min(effective_rank(units) for units in layers.values())),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {"seen": self._seen, "at_freeze": self.at_freeze, "warned": sorted(self._warned)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from `state_dict`."""
        self._seen = None if state["seen"] is None else state["seen"].to(device, copy=True)  # not the checkpoint's file
        self.at_freeze, self._warned = dict(state["at_freeze"]), set(state["warned"])
