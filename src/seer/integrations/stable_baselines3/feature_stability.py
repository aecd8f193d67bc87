"""The stability of a policy's features, for `freeze_at="auto"`: the measure of `seer train --freeze-at auto`.

Axes: B observations, L features.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seer.core.feature_stability import OBSERVATIONS, covariances, least
from seer.core.similarity import SAMPLES_PER_UNIT, linear_cka
from seer.integrations.stable_baselines3.buffer import SeerReplayBuffer
from seer.integrations.stable_baselines3.cut import Cut
from seer.integrations.stable_baselines3.extractors import extract, online_networks
from seer.integrations.stable_baselines3.packing import Observation


@dataclass
class FeatureStability:
    """Compares the features of every comparison with those that the extractors of the one before give.

    Where the features are vectors, each observation is one sample; so there are more of them than of feature maps,
    which have a sample at every position. Numbers of a Dict that an extractor passes on as they are don't count.
    """

    before: list[nn.Module] | None = None

    def compare(self, policy: nn.Module, buffer: SeerReplayBuffer, cut: Cut, *, span: int) -> float | None:
        """Return the linear CKA with the features of the last comparison, if any, of the most changed extractor."""
        networks = online_networks(policy)
        modules = [cut.base(network.features_extractor) for network in networks]
        previous, self.before = self.before, copy.deepcopy(modules)
        count = num_observations(policy, cut)
        observations = buffer.recent(count, span=max(span, count))
        if previous is None or sum(_length(chunk) for chunk in observations) < 0.9 * count:
            return None
        before, now = (
            [[extract(*pair, chunk) for chunk in observations] for pair in zip(networks, bases, strict=True)]
            for bases in (previous, modules)
        )
        learnt = [_learnt(*map(torch.cat, pair)) for pair in zip(before, now, strict=True)]

        def samples(encoded: list[list[Tensor]], number: int) -> Iterator[Tensor]:
            for network, chunks, columns in zip(networks, encoded, learnt, strict=True):
                latents = chunks[number] if cut.layers == "convolutions" else chunks[number][:, columns]
                yield cut.samples(network.features_extractor, latents)

        return least(linear_cka, covariances(before, now, samples, range(len(observations))))


def _learnt(before: Tensor, now: Tensor) -> Tensor:
    """Say which features [L] depend on weights, of the same observations as encoded before and now, [B, L] both.

    The others vary and are the same to the last bit: large ones would make any two extractors look alike.
    """
    return (before != now).any(0) | (now == now[0]).all(0)


def num_observations(policy: nn.Module, cut: Cut) -> int:
    """Return how many observations a comparison takes."""
    extractor = online_networks(policy)[0].features_extractor
    return max(OBSERVATIONS, SAMPLES_PER_UNIT * cut.latent_size(extractor)) if cut.layers == "all" else OBSERVATIONS


def _length(observation: Observation) -> int:
    return len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
