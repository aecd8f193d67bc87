"""LeRobot's SAC on stored features."""

from lerobot.rl.algorithms.sac import SACAlgorithm
from torch import Tensor

from seer.integrations.lerobot.features import Observation, features_of


class StoredFeaturesSAC(SACAlgorithm):  # type: ignore[misc]  # LeRobot isn't installed where types are checked
    """LeRobot's SAC, whose losses take the feature maps that a batch brings with it.

    Everything else is LeRobot's: losses, optimisers, targets, checkpoints.
    """

    def get_observation_features(
        self, observations: Observation, next_observations: Observation
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the maps of a batch of `FeatureReplayBuffer`; nothing is encoded.

        Raises:
            ValueError: the batch is another buffer's.
        """
        found = features_of(observations), features_of(next_observations)
        if not all(found):
            raise ValueError("the batch has no stored features: sample from a FeatureReplayBuffer")
        return found

    def _update_target_networks(self) -> None:
        """Move the targets towards the networks, but leave alone the parameters that both share.

        LeRobot's targets share the encoder, and its update averages each shared weight with itself, which rounds: a
        frozen encoder would drift away from the features that it has given.
        """
        weight = self.config.critic_target_update_weight
        pairs = [(self.critic_target, self.critic_ensemble)]
        if self.discrete_critic_target is not None:
            pairs.append((self.discrete_critic_target, self.policy.discrete_critic))
        for target, network in pairs:
            for old, new in zip(target.parameters(), network.parameters(), strict=True):
                if old is not new:
                    old.data.copy_(new.data * weight + old.data * (1.0 - weight))
