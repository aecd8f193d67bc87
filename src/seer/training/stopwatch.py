"""Count the updates that a run makes per second."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seer.agents.agent import Agent
from seer.core.phase import Phase


class Stopwatch:
    """Count an agent's updates, and the seconds of acting and learning, before and after its freeze.

    It is paused for evaluations, the conversion and checkpoints. Steps before the first update don't count.
    """

    def __init__(self, agent: Agent[Any]) -> None:
        self._agent = agent
        self.updates = {"before": 0, "after": 0}
        self.seconds = {"before": 0.0, "after": 0.0}
        self._mark = 0.0  # when the running stretch of acting and learning began
        self._last = (0.0, 0)  # seconds and updates at the last `rate`

    def start(self) -> None:
        """Begin to count; what was counted before stays."""
        self.restart()
        self._last = sum(self.seconds.values()), sum(self.updates.values())

    @property
    def paused_seconds(self) -> float:
        """Return the seconds since the pause began, or since `restart`."""
        return time.perf_counter() - self._mark

    def restart(self) -> None:
        """Count from now on, not from when the stretch began."""
        self._mark = time.perf_counter()

    def stop(self) -> None:
        """Count the stretch that ends here; the next one begins."""
        now = time.perf_counter()
        if any(self.updates.values()):
            self.seconds[self._half] += now - self._mark
        self._mark = now

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the time inside out of the count."""
        self.stop()
        yield
        self.restart()

    def count(self) -> None:
        """Count one update."""
        if not any(self.updates.values()):
            self.restart()
        self.updates[self._half] += 1

    def rate(self) -> float:
        """Return updates per second since the last call."""
        self.stop()
        seconds, updates = self._last
        self._last = sum(self.seconds.values()), sum(self.updates.values())
        return (self._last[1] - updates) / max(1e-9, self._last[0] - seconds)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep; taken while paused."""
        return {"seconds": dict(self.seconds), "updates": dict(self.updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.seconds, self.updates = state["seconds"], state["updates"]

    @property
    def _half(self) -> str:
        return "before" if self._agent.phase is Phase.FRAMES else "after"
