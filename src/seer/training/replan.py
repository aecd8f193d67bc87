"""Going on with a run otherwise than it was planned: `seer resume RUN`, with `--steps N` or `--freeze-at N`.

First `config.json` has the new plan, then the run goes on from its last checkpoint, whose settings still have the old
one: so a process that dies in between leaves a run that `seer resume` brings to the new plan.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seer.config import Config
from seer.core.freeze_rules import FreezeChoice
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.training.state import TrainingState
from seer.validation import FITTED, last_freeze, validate

PROLONGED = frozenset({"steps", "planned_steps"})
"""Settings that a prolonged run has otherwise than the run that it was."""

CHOSEN_ANEW = frozenset({"freeze.at", "freeze.latest", "replay.memory"})
"""Settings that a run whose freeze was decided anew has otherwise than the run that it was."""


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
    emptied = begins_empty(run, steps_before=steps_before)
    if emptied:
        run.replay_from = run.step
        for number in range(len(run.environments)):
            run.begin_episode(number)
    updates_from = next(step for step in itertools.count(run.step + 1) if run.updates_at(step))
    return Prolongation(steps_before, run.config.steps, "empty" if emptied else "kept", updates_from)


def begins_empty(run: TrainingState, *, steps_before: int) -> bool:
    """Tell whether a run stands at the end of its earlier plan, its replay not kept."""
    return run.step == steps_before and run.replay.size == 0


def refuse_unfitted_range(run: TrainingState, *, steps_before: int) -> None:
    """Raise SettingError where an emptied replay won't hold enough at the freeze to fit the range of int8 latents."""
    flag, step = last_freeze(run.config)
    emptied_at = run.step if begins_empty(run, steps_before=steps_before) else run.replay_from
    enough = emptied_at + FITTED * run.config.num_envs
    learns_in_frames = run.agent.phase is Phase.FRAMES and emptied_at > 0
    if learns_in_frames and run.config.freeze.latent_dtype == "int8" and step in range(enough):
        raise SettingError(
            f"{flag} {step}: the replay wasn't kept, and --latent-dtype int8 fits its range to {FITTED} new "
            f"observations of each environment: give --freeze-at {enough} or more as well, or never"
        )


def with_freeze_at(config: Config, at: str, *, num_bytes: int) -> Config:
    """Return the settings of a run that freezes at another step; its replay stays as large as it is, `num_bytes`."""
    freeze, replay = dataclasses.replace(config.freeze, at=at), config.replay
    if freeze.choice.rule is None:
        freeze = dataclasses.replace(freeze, latest=None)
    if replay.memory is None and replay.capacity is None:  # so the step of the freeze had a say in its size
        replay = dataclasses.replace(replay, memory=str(num_bytes))
    return validate(dataclasses.replace(config, freeze=freeze, replay=replay))


def freezes_otherwise(before: Config, now: Config) -> bool:
    """Tell whether settings `now` have another freeze than `before`, and a replay that can be as large."""
    was_sized = before.replay.memory is not None or before.replay.capacity is not None
    keeps_size = now.replay.memory == before.replay.memory or not was_sized
    return now.freeze.at != before.freeze.at and keeps_size


def refuse_past_freeze(progress: Mapping[str, Any], choice: FreezeChoice) -> None:
    """Raise SettingError where a saved run is frozen already, or past the step at which it is to freeze.

    `progress` is that of `TrainingState.state_dict`.
    """
    step, frozen_at = progress["step"], progress["frozen_at"]
    if frozen_at is not None:
        raise SettingError(
            f"--freeze-at {choice.text}: the run is frozen since step {frozen_at:,}, which can't be undone; begin a "
            "new run"
        )
    if choice.step is not None and choice.step <= step:
        raise SettingError(f"--freeze-at {choice.text}: the run is at step {step:,} already; give a later step")
