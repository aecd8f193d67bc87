"""Going on with a run past its planned end: `seer resume RUN --steps N`.

First `config.json` says more steps, then the run goes on from its last checkpoint, whose settings still have fewer: so
a process that dies in between leaves a run that `seer resume` prolongs.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seer.config import Config
from seer.errors import SettingError
from seer.training.state import TrainingState
from seer.validation import validate

PROLONGED = frozenset({"steps", "planned_steps"})
"""Settings that a prolonged run has otherwise than the run that it was."""


@dataclass(frozen=True)
class Prolongation:
    """Hold how a run was prolonged, for the record of it.

    Attributes:
        steps_before, steps: planned before, and now.
        replay: kept, or empty at first.
        updates_from: step of the next update.
    """

    steps_before: int
    steps: int
    replay: Literal["kept", "empty"]
    updates_from: int


def prolonged(config: Config, steps: int) -> Config:
    """Return the settings of a run that goes on to `steps`.

    Its schedules end as first planned and its replay stays as large as it is, so up to there it is the run that it was.
    """
    if steps <= config.steps:
        raise SettingError(
            f"--steps {steps}: the run is one of {config.steps} steps already; give more, as a run can't be shortened"
        )
    return validate(
        dataclasses.replace(config, steps=steps, planned_steps=config.planned_steps or config.steps), new=False
    )


def is_prolonged(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether settings `now`, by dotted name, are those of `before` prolonged, as far as `PROLONGED` goes."""
    planned = before.get("planned_steps") or before["steps"]
    return bool(now["steps"] > before["steps"] and now.get("planned_steps") == planned)


def prolong(run: TrainingState, *, steps_before: int) -> Prolongation:
    """Let a run that was loaded from a checkpoint of fewer planned steps go on.

    A replay that wasn't kept is filled by the agent, in new episodes, until as much is stored as at the first update.
    """
    emptied = run.step == steps_before and run.replay.size == 0
    if emptied:
        run.replay_from = run.step
        for number in range(len(run.environments)):
            run.begin_episode(number)
    updates_from = next(step for step in itertools.count(run.step + 1) if run.updates_at(step))
    return Prolongation(steps_before, run.config.steps, "empty" if emptied else "kept", updates_from)
