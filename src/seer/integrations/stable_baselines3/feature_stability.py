"""The stability of a policy's features, for `freeze_at="auto"`: the measure of `seer train --freeze-at auto`."""

import copy
from dataclasses import dataclass

import numpy as np
from torch import nn

from seer.core.similarity import SAMPLES_PER_UNIT, Covariances, linear_cka
from seer.integrations.stable_baselines3.buffer import SeerReplayBuffer
from seer.integrations.stable_baselines3.cut import Cut
from seer.integrations.stable_baselines3.extractors import extract, online_networks

FEWEST = 256


@dataclass
class FeatureStability:
    """Compares the features of every comparison with those that the extractors of the one before give.

    Where the features are vectors, each observation is one sample; so there are more of them than of feature maps,
    which have a sample at every position.
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
        covariances = [Covariances() for _ in networks]
        for chunk in observations:
            for network, old, now, found in zip(networks, previous, modules, covariances, strict=True):
                features = (extract(network, module, chunk) for module in (old, now))
                found.add(*(cut.samples(network.features_extractor, each) for each in features))
        return float(np.min([linear_cka(found) for found in covariances]))  # nan, where it occurs, wins


def num_observations(policy: nn.Module, cut: Cut) -> int:
    """Return how many observations a comparison takes."""
    extractor = online_networks(policy)[0].features_extractor
    return max(FEWEST, SAMPLES_PER_UNIT * cut.latent_size(extractor)) if cut.layers == "all" else FEWEST


def _length(observation: object) -> int:
    return len(next(iter(observation.values())) if isinstance(observation, dict) else observation)  # type: ignore[arg-type]
