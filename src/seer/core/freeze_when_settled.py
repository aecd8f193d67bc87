"""The rule of `--freeze-at auto`: freeze once the features have settled and the score has left its floor."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from seer.core.freeze_rules import FreezeRule, StepMetrics
from seer.errors import SettingError

FLOOR_EPISODES = RECENT_EPISODES = 10
"""Episodes at the start of a run, and newest ones, whose scores are compared."""

STANDARD_ERRORS = 4.0
"""By how many standard errors of their difference the newest scores must lie above the first ones. So many, and at
several comparisons in a row, because a run looks often: of runs whose score never rises, fewer than 1 in 100 freeze."""

LONG_ENOUGH = 2.0
"""Features have settled when they have hardly changed from some step to so many times that step: those of an agent that
is stuck look settled for a while, and a fixed number of steps says less the longer a run has lasted."""


class FreezeWhenSettled(FreezeRule):
    """Freeze once the features have settled and the score has left its floor.

    Settled: from some step to twice that step, and at `patience` comparisons in a row at least, none before step
    `earliest`, the linear CKA was `threshold` or more. The score has left its floor once, at `patience` comparisons in
    a row, the mean of the newest episodes lay four standard errors above that of the first ones (Welch's t): the
    features of an agent that has learnt nothing yet settle as well, and would be frozen in that state. Step `latest`,
    if there is one, freezes whatever the features and the score say.
    """

    mode = "auto"
    compares_features = True
    reason = "no comparison yet"

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
        self.streak = self.rises = 0  # comparisons in a row that found the features alike, the score risen
        self.alike_since = 0  # step of the first of that streak
        self.first_scores: list[float] = []
        self.newest_scores: deque[float] = deque(maxlen=RECENT_EPISODES)

    def on_step(self, metrics: StepMetrics) -> None:
        """Weigh scores and features; no score counts on both sides."""
        for score in metrics.episode_returns:
            (self.first_scores if len(self.first_scores) < FLOOR_EPISODES else self.newest_scores).append(score)
        if metrics.cka is not None:
            self._weigh(metrics.step, metrics.cka)

    def _weigh(self, step: int, similarity: float) -> None:
        self.similarity = similarity
        self.streak = self.streak + 1 if similarity >= self.threshold and step >= self.earliest else 0
        if self.streak == 1:
            self.alike_since = step
        settled = self.streak >= self.patience and step >= LONG_ENOUGH * self.alike_since
        if self.rises < self.patience:  # once it has left its floor, it has
            self.rises = self.rises + 1 if has_risen(self.first_scores, self.newest_scores) else 0
        if settled and self.rises >= self.patience:
            self.due_from, self.reason = step, "features settled"
        else:
            self.reason = "score at its floor" if settled else self._waiting(step)

    def _waiting(self, step: int) -> str:
        """Return why the features don't count as settled yet."""
        if step < self.earliest:
            return f"comparisons before step {self.earliest:,} don't count"
        return "features alike, not for long enough yet" if self.streak else "features still change"

    def is_due(self, step: int) -> bool:
        """Tell whether the freeze belongs to `step`; from step `latest` on it does, at the first step asked about."""
        if self.latest is not None and step >= self.latest and self.due_from is None:
            self.due_from, self.reason = step, "latest step"
        return super().is_due(step)

    def earliest_step(self, *, probe_every: int, first_update: int) -> int:
        """Return the first step at which features can be found settled, or the latest one if that comes before.

        The first comparison that counts is that of the second probe, or of the first one after something was learnt.
        """
        first = probe_every * max(2, math.ceil(self.earliest / probe_every), first_update // probe_every + 1)
        doubled = math.ceil(LONG_ENOUGH * first / probe_every) * probe_every
        settled = max(doubled, first + (self.patience - 1) * probe_every)
        return settled if self.latest is None else min(settled, self.latest)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "streak": self.streak,
            "alike_since": self.alike_since,
            "rises": self.rises,
            "first_scores": list(self.first_scores),
            "newest_scores": list(self.newest_scores),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            SettingError: it is of a time when another measure decided.
        """
        if "alike_since" not in state:
            raise SettingError("--freeze-at auto decided by SVCCA when this run began: resume it with the seer of then")
        super().load_state_dict(state)
        self.streak, self.alike_since, self.rises = state["streak"], state["alike_since"], state["rises"]
        self.first_scores = list(state["first_scores"])
        self.newest_scores = deque(state["newest_scores"], maxlen=RECENT_EPISODES)


def has_risen(first: Sequence[float], newest: Sequence[float]) -> bool:
    """Tell whether the newest scores lie clearly above the first ones; False until there are enough of both."""
    if len(first) < FLOOR_EPISODES or len(newest) < RECENT_EPISODES:
        return False
    before, now = _mean_and_square_error(first), _mean_and_square_error(newest)
    return now[0] - before[0] > STANDARD_ERRORS * math.sqrt(before[1] + now[1])


def _mean_and_square_error(scores: Sequence[float]) -> tuple[float, float]:
    mean = sum(scores) / len(scores)
    return mean, sum((score - mean) ** 2 for score in scores) / (len(scores) - 1) / len(scores)
