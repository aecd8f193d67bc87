"""SEER for LeRobot's human-in-the-loop learner: features are stored in place of images (docs/lerobot.md)."""

from seer.integrations.lerobot.versions import require_lerobot

require_lerobot()

from seer.integrations.lerobot.algorithm import StoredFeaturesSAC  # noqa: E402  # after the check
from seer.integrations.lerobot.buffer import FeatureReplayBuffer  # noqa: E402
from seer.integrations.lerobot.features import FrozenFeatures  # noqa: E402

__all__ = ["FeatureReplayBuffer", "FrozenFeatures", "StoredFeaturesSAC"]
