"""When to freeze the encoder. T_f counts training steps (agent decisions), as the authors' code does."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from seer.errors import SettingError

FLOOR_EPISODES = RECENT_EPISODES = 10
"""Episodes at the start of a run, and newest ones, whose scores are compared."""

STANDARD_ERRORS = 4.0
"""By how many standard errors of their difference the newest scores must lie above the first ones. So many, and at
several comparisons in a row, because a run looks often: of runs whose score never rises, fewer than 1 in 100 freeze."""


LONG_ENOUGH = 2.0
"""Features have settled when they have hardly changed from some step to so many times that step: those of an agent that
is stuck look settled for a while, and a fixed number of steps says less the longer a run has lasted."""


class FreezeRule:
    """Decides the step of the freeze, and can say why.

    Attributes:
        mode: how the step is chosen, for the summary.
        compares: whether it wants to hear how much the features still change.
        reason, similarity: why it froze, or hasn't so far; and the last comparison, if there was one.
    """

    mode: str
    compares: bool = False
    reason: str
    similarity: float | None = None

    def due(self, step: int) -> bool:
        """Whether the freeze belongs to training step `step`."""
        raise NotImplementedError

    def scored(self, score: float) -> None:
        """A training game has ended with this score."""

    def compared(self, step: int, similarity: float) -> None:
        """How alike the features at `step` are to those of the comparison before; only where `compares`."""

    def account(self) -> dict[str, Any]:
        """The decision, for records."""
        return {"mode": self.mode, "reason": self.reason, "similarity": self.similarity}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""


class FreezeAt(FreezeRule):
    """Freeze at training step `step` (SEER, algorithm 1: t == T_f), or never if it is None; 0 is before the first."""

    def __init__(self, step: int | None, *, reason: str = "given step") -> None:
        self.step = step
        self.mode, self.reason = ("never", "not asked for") if step is None else ("step", reason)

    def due(self, step: int) -> bool:
        """Whether `step` is the one."""
        return step == self.step


class FreezeWhenSettled(FreezeRule):
    """Freeze once the features have settled and the score has left its floor.

    Settled: from some step to twice that step, and at `patience` comparisons in a row at least, none before step
    `earliest`, the similarity was `threshold` or more. The score has left its floor once, at `patience` comparisons in
    a row, the mean of the newest games lay four standard errors above that of the first ones (Welch's t): the
    features of an agent that has learnt nothing yet settle as well, and would be frozen in that state. Step `latest`,
    if there is one, freezes whatever the features and the score say.
    """

    mode = "auto"
    compares = True

    def __init__(
        self,
        *,
        threshold: float = 0.985,
        patience: int = 3,
        earliest: int = 5000,
        latest: int | None = None,
    ) -> None:
        self.threshold, self.patience = threshold, patience
        self.earliest, self.latest = earliest, latest
        self.reason = "no comparison yet"
        self.streak = self.rises = 0  # comparisons in a row that found the features alike, the score risen
        self.alike_since = 0  # step of the first of that streak
        self.first_scores: list[float] = []
        self.newest_scores: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._decided_at: int | None = None

    def scored(self, score: float) -> None:
        """A training game has ended with this score; none counts on both sides."""
        if len(self.first_scores) < FLOOR_EPISODES:
            self.first_scores.append(score)
        else:
            self.newest_scores.append(score)

    def compared(self, step: int, similarity: float) -> None:
        """Weigh the evidence; after this `due` knows."""
        self.similarity = similarity
        self.streak = self.streak + 1 if similarity >= self.threshold and step >= self.earliest else 0
        if self.streak == 1:
            self.alike_since = step
        settled = self.streak >= self.patience and step >= LONG_ENOUGH * self.alike_since
        if self.rises < self.patience:  # once it has left its floor, it has
            self.rises = self.rises + 1 if has_risen(self.first_scores, self.newest_scores) else 0
        if settled and self.rises >= self.patience:
            self._decided_at, self.reason = step, "features settled"
        else:
            waiting = "features alike, not for long enough yet" if self.streak else "features still change"
            self.reason = "score at its floor" if settled else waiting

    def due(self, step: int) -> bool:
        """Whether it belongs to `step`; from step `latest` on it does, at the first step asked about."""
        if self.latest is not None and step >= self.latest and self._decided_at is None:
            self._decided_at, self.reason = step, "latest step"
        return step == self._decided_at

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {
            "streak": self.streak,
            "alike_since": self.alike_since,
            "rises": self.rises,
            "similarity": self.similarity,
            "reason": self.reason,
            "first_scores": list(self.first_scores),
            "newest_scores": list(self.newest_scores),
            "decided_at": self._decided_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            SettingError: it is of a time when another measure decided.
        """
        if "alike_since" not in state:
            raise SettingError("--freeze-at auto decided by SVCCA when this run began: resume it with the seer of then")
        self.streak, self.alike_since, self.rises = state["streak"], state["alike_since"], state["rises"]
        self.similarity, self.reason = state["similarity"], state["reason"]
        self.first_scores = list(state["first_scores"])
        self.newest_scores = deque(state["newest_scores"], maxlen=RECENT_EPISODES)
        self._decided_at = state["decided_at"]


def has_risen(first: Sequence[float], newest: Sequence[float]) -> bool:
    """Whether the newest scores lie clearly above the first ones; False until there are enough of both."""
    if len(first) < FLOOR_EPISODES or len(newest) < RECENT_EPISODES:
        return False
    before, now = _mean_and_square_error(first), _mean_and_square_error(newest)
    return now[0] - before[0] > STANDARD_ERRORS * math.sqrt(before[1] + now[1])


def _mean_and_square_error(scores: Sequence[float]) -> tuple[float, float]:
    mean = sum(scores) / len(scores)
    return mean, sum((score - mean) ** 2 for score in scores) / (len(scores) - 1) / len(scores)
