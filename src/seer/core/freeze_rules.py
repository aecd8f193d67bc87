"""When to freeze the encoder: the interface of a rule, and the one place that reads `--freeze-at`.

T_f counts training steps (agent decisions), as the authors' code does.
"""

import inspect
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seer.errors import SettingError, shortened
from seer.registry import PLACE

RULES = {"auto": "seer.core.freeze_when_settled:FreezeWhenSettled"}
"""Names that --freeze-at knows for rules; any other rule is given as package.module:Class."""


@dataclass(frozen=True)
class StepMetrics:
    """The metrics of training step `step`, as far as they are known before its update.

    Attributes:
        updates: gradient steps so far.
        episode_returns: scores of the training episodes that ended in this step.
        losses: the agent's metrics at its newest update, by the names they have in metrics.jsonl.
        cka, svcca: how alike the encoder's features are to those of the comparison before, in [0, 1] (or nan); None
            where this step compared nothing.
    """

    step: int
    updates: int = 0
    episode_returns: Sequence[float] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    cka: float | None = None
    svcca: float | None = None


SETTINGS: Mapping[str, tuple[str, float | None]] = {
    "threshold": ("--freeze-similarity", 0.985),
    "patience": ("--freeze-patience", 3),
    "earliest": ("--freeze-earliest", 5000),
    "latest": ("--freeze-latest", None),
}
"""Keywords that a rule's constructor may have, with the flag of each and the default of that."""


class FreezeRule:
    """Decides the step of the freeze; a subclass sets `due_from` and `reason` in `on_step`.

    Its constructor needs no arguments. Keywords of the names in `SETTINGS` get those flags where they aren't at their
    defaults.

    Attributes:
        mode: how the step is chosen, for records: "never", a given "step", or the rule as `--freeze-at` names it;
            None is the place of the class.
        compares_features: whether it needs `cka` and `svcca`, every --probe-every steps.
        due_from: the step from which on the freeze is due, once that is known.
        reason: why it froze, or hasn't so far; for records.
        similarity: of the last comparison, if there was one; for records.
    """

    mode: str | None = None
    compares_features = False
    due_from: int | None = None
    reason = "nothing seen yet"
    similarity: float | None = None

    def on_step(self, metrics: StepMetrics) -> None:
        """Take in a step's metrics; called once a step until the freeze."""

    def is_due(self, step: int) -> bool:
        """Tell whether a freeze that hasn't happened yet belongs to `step`."""
        return self.due_from is not None and step >= self.due_from

    def earliest_step(self, *, probe_every: int, first_update: int) -> int:  # noqa: ARG002
        """Return the first step at which it can freeze, by the run's settings: a run that ends before is refused."""
        return 1

    def account(self) -> dict[str, Any]:
        """Return the decision, for records."""
        mode = self.mode or f"{type(self).__module__}:{type(self).__qualname__}"
        return {"mode": mode, "reason": self.reason, "similarity": self.similarity}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep; a subclass adds its own."""
        return {"decided_at": self.due_from, "reason": self.reason, "similarity": self.similarity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.due_from, self.reason, self.similarity = state["decided_at"], state["reason"], state["similarity"]


class FreezeAt(FreezeRule):
    """Freeze at training step `step` (SEER, algorithm 1: t == T_f), or never if it is None; 0 is before the first."""

    def __init__(self, step: int | None, *, reason: str = "given step") -> None:
        self.due_from = step
        self.mode, self.reason = ("never", "not asked for") if step is None else ("step", reason)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the settings say it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the settings say."""


@dataclass(frozen=True)
class FreezeChoice:
    """The meaning of `--freeze-at`: a step, never (neither `step` nor `rule`), or a rule that finds the step.

    `rule` is the place of its class, package.module:Class, which is imported by `make` alone.
    """

    text: str
    step: int | None = None
    rule: str | None = None

    @property
    def is_never(self) -> bool:
        """Tell whether nothing is ever frozen."""
        return self.step is None and self.rule is None

    def __str__(self) -> str:
        if self.is_never:
            return "never frozen"
        if self.step is not None:
            return f"freeze at {self.step:,}"
        return "automatic freeze" if self.text == "auto" else f"freeze by {self.text}"

    def make(self, *, reason: str = "given step", **settings: Any) -> FreezeRule:
        """Return a new rule; settings at their defaults in `SETTINGS` are left to the rule's own.

        Raises:
            SettingError: its class can't be imported or made, or has no such setting.
        """
        if self.rule is None:
            return FreezeAt(self.step, reason=reason)
        try:
            rule = pkgutil.resolve_name(self.rule)
            changed = {name: value for name, value in settings.items() if value != SETTINGS[name][1]}
            unread = changed.keys() - inspect.signature(rule).parameters.keys()
            made = None if unread else rule(**changed)
        except Exception as error:  # whatever runs at import
            raise SettingError(
                f"the freeze rule {self.rule} can't be made ({shortened(error)}); name a subclass of "
                "seer.FreezeRule as package.module:Class"
            ) from error
        for name in sorted(unread):
            flag = SETTINGS[name][0]
            raise SettingError(f"{flag} {changed[name]}: the freeze rule {self.rule} has none; leave it out")
        if not isinstance(made, FreezeRule):
            raise SettingError(f"{self.rule} makes a {type(made).__name__}: name a subclass of seer.FreezeRule")
        made.mode = self.text
        return made


def parse_freeze_at(text: object, *, setting: str = "--freeze-at") -> FreezeChoice:
    """Read `--freeze-at`: never, a whole number, a name of `RULES` or package.module:Class.

    Raises:
        SettingError: it is none of these.
    """
    words = str(text)
    if words == "never":
        return FreezeChoice(words)
    if re.fullmatch(r"0|[1-9][0-9]{0,17}", words):
        return FreezeChoice(words, step=int(words))
    if names_rule(words):
        return FreezeChoice(words, rule=RULES.get(words, words))
    raise SettingError(
        f"{setting} {text!r} is no step; give a whole number, {', '.join(RULES)}, never, or package.module:Class"
    )


def names_rule(text: object) -> bool:
    """Tell whether `--freeze-at` names a rule that finds the step on the way; False where it makes no sense."""
    return isinstance(text, str) and (text in RULES or PLACE.fullmatch(text) is not None)
