"""SEER for Stable-Baselines3: a replay buffer and a callback (docs/stable_baselines3.md)."""

try:
    import stable_baselines3 as _stable_baselines3  # noqa: F401
except ImportError as error:
    raise ImportError("Stable-Baselines3 is missing: pip install 'seer-rl[sb3]'") from error

from seer.integrations.stable_baselines3.buffer import SeerReplayBuffer
from seer.integrations.stable_baselines3.callback import SeerCallback

__all__ = ["SeerCallback", "SeerReplayBuffer"]
