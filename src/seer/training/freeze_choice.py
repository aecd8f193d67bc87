"""Deciding anew when a run freezes, before it has: `seer resume RUN --freeze-at N`.

Like a prolonged run (prolong.py) it goes on from its last checkpoint, whose settings still have the old choice.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from seer.config import Config
from seer.core.freeze_rules import FreezeChoice
from seer.errors import SettingError
from seer.validation import validate

CHOSEN_ANEW = frozenset({"freeze.at", "freeze.latest", "replay.memory"})
"""Settings that a run whose freeze was decided anew has otherwise than the run that it was."""


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
