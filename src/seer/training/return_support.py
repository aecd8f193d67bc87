"""Check whether collected returns lie on the support of the agent's distributions (C51, Bellemare et al. 2017).

A return beyond the ends of the support is learnt as if it were the end: all actions come to look alike.
"""

import math
from collections import deque
from typing import Any

import numpy as np

NEWEST, LEAST, SHARE = 1000, 100, 0.05
"""Warn where more than SHARE of the NEWEST returns lie outside the support, and there are at least LEAST."""

LONGEST = 2000
"""Steps of an episode whose returns are computed at a time, so that an endless one is checked too."""


class ReturnSupport:
    """Compare the discounted returns of the agent's own episodes, from each step on, with the support of its values.

    Args:
        minimum, maximum: ends of the support, in discounted reward as the agent learns from it.
    """

    def __init__(self, minimum: float, maximum: float, *, discount: float, num_envs: int = 1) -> None:
        self.minimum, self.maximum, self.discount = minimum, maximum, discount
        self._rewards: list[list[float]] = [[] for _ in range(num_envs)]  # of the episodes under way
        self._returns: deque[float] = deque(maxlen=NEWEST)
        self._warned = False

    def add(self, env: int, reward: float, *, over: bool) -> None:
        """Take a step's reward; `over` where it ended the episode, truncated or not."""
        rewards = self._rewards[env]
        rewards.append(reward)
        if over or len(rewards) == LONGEST:
            following = 0.0
            for each in reversed(rewards):
                following = each + self.discount * following
                self._returns.append(following)
            rewards.clear()

    def give_up(self, env: int) -> None:
        """Forget an episode that was broken off: its returns will never be known."""
        self._rewards[env].clear()

    def metrics(self) -> dict[str, float]:
        """Return the range of the newest returns and the share outside the support; nothing before the first."""
        if not self._returns:
            return {}
        returns = np.array(self._returns)
        outside = (returns < self.minimum) | (returns > self.maximum)
        return {
            "discounted_return_min": float(returns.min()),
            "discounted_return_max": float(returns.max()),
            "outside_support": float(outside.mean()),
        }

    def warning(self) -> str | None:
        """Return, once in a run, a line where too many returns lie outside, with the setting that mends it."""
        if self._warned or len(self._returns) < LEAST:
            return None
        metrics = self.metrics()
        if metrics["outside_support"] <= SHARE:
            return None
        self._warned = True
        least, most = metrics["discounted_return_min"], metrics["discounted_return_max"]
        remedies = [f"--min-return {_beyond(least)} or less"] * (least < self.minimum)
        remedies += [f"--max-return {_beyond(most)} or more"] * (most > self.maximum)
        seen = f"all {most:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
        return (
            f"{metrics['outside_support']:.0%} of the last {len(self._returns):,} discounted returns, {seen}, lie "
            f"outside the {self.minimum:g} to {self.maximum:g} that the agent's values can be, and are "
            f"learnt as if they ended there: begin anew with {' and '.join(remedies)}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {
            "rewards": [np.array(rewards, np.float64) for rewards in self._rewards],
            "returns": np.array(self._returns, np.float64),
            "warned": self._warned,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._rewards = [rewards.tolist() for rewards in state["rewards"]]
        self._returns = deque(state["returns"].tolist(), maxlen=NEWEST)
        self._warned = bool(state["warned"])


def _beyond(number: float) -> str:
    """Return the next number of two digits away from 0: 23.4 as 24, -0.171 as -0.18."""
    unit = 10.0 ** (math.floor(math.log10(abs(number))) - 1) if number else 1.0
    return f"{math.copysign(math.ceil(abs(number) / unit - 1e-9) * unit, number):g}"
