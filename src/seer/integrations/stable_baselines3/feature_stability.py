"""The stability of a policy's features, for `freeze_at="auto"`: the measure of `seer train --freeze-at auto`."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

        def samples(bases: Sequence[nn.Module], chunk: Observation) -> Iterator[Tensor]:
            for network, base in zip(networks, bases, strict=True):
                yield cut.samples(network.features_extractor, extract(network, base, chunk))

        return least(linear_cka, covariances(previous, modules, samples, observations))


def num_observations(policy: nn.Module, cut: Cut) -> int:
    """Return how many observations a comparison takes."""
    extractor = online_networks(policy)[0].features_extractor
    return max(OBSERVATIONS, SAMPLES_PER_UNIT * cut.latent_size(extractor)) if cut.layers == "all" else OBSERVATIONS


def _length(observation: Observation) -> int:
    return len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
