"""From an agent's actions, 0 to n - 1 or numbers in [-1, 1], to a simulator's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from seer.errors import SettingError

OwnSpace = spaces.Discrete | spaces.Box


@dataclass(frozen=True)
class ActionTranslation:
    """Turn an agent's action into the simulator's own.

    Both ways to scale mean the same and round differently; each suite keeps its own, so that seeds give what they gave.

    Attributes:
        space: the simulator's own actions, whose bounds -1 and 1 stand for, and from whose first one 0 counts.
        from_centre: scale as centre + half range * action, otherwise as low + (action + 1) / 2 * range, clipped.
    """

    space: OwnSpace
    from_centre: bool = True

    @property
    def agent_space(self) -> OwnSpace:
        """Return the agent's actions."""
        if isinstance(self.space, spaces.Discrete):
            return spaces.Discrete(int(self.space.n))
        return spaces.Box(-1.0, 1.0, (self.space.low.size,), np.float32)

    def __call__(self, action: Any) -> Any:
        """Return the simulator's own action: an int, or an array of the space's shape and dtype."""
        if isinstance(self.space, spaces.Discrete):
            return int(action) + int(self.space.start)
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        given = np.asarray(action, np.float64).reshape(low.shape)
        if self.from_centre:
            moved = (low + high) / 2 + (high - low) / 2 * given
        else:
            moved = np.clip(low + (given + 1) / 2 * (high - low), low, high)
        return moved.astype(self.space.dtype)

    def bounds(self) -> dict[str, Any]:
        """Return as JSON the action that 0 stands for, `first`, or of -1 and 1, `low` and `high`."""
        if isinstance(self.space, spaces.Discrete):
            return {"first": int(self.space.start)}
        return {"low": self.space.low.tolist(), "high": self.space.high.tolist()}

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON, `bounds` included."""
        if isinstance(self.space, spaces.Discrete):
            return {"count": int(self.space.n)} | self.bounds()
        return {"dtype": str(self.space.dtype), "from_centre": self.from_centre} | self.bounds()


def translation_from_json(record: Mapping[str, Any]) -> ActionTranslation:
    """Return the translation that `to_json` wrote.

    Raises:
        SettingError: it is none.
    """
    try:
        if "count" in record:
            count, first = int(record["count"]), int(record["first"])
            return ActionTranslation(spaces.Discrete(count, start=first))
        dtype = np.dtype(record["dtype"])
        low, high = np.array(record["low"], dtype), np.array(record["high"], dtype)
        if dtype.kind != "f" or low.shape != high.shape or not (np.isfinite(low) & np.isfinite(high)).all():
            raise ValueError("its bounds are no finite numbers")
        return ActionTranslation(spaces.Box(low, high, low.shape, dtype.type), bool(record["from_centre"]))
    except (AssertionError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise SettingError(f"actions {record!s:.80} can't be read ({error}): restore the file") from error
