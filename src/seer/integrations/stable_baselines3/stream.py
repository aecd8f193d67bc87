"""What one environment plays, put into a replay of its own.

SB3 hands over whole transitions; the replay has one row per observation, so that the next observation must be the next
row. Here that is checked at every step, and where it doesn't hold (an environment that was reset from outside, between
two calls of `learn`) the episode is closed and a new one begun.

Axes: S stack, R bytes of a row.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seer.errors import SettingError
from seer.replay import Replay

Rows = NDArray[np.uint8]
EncodeOne = Callable[[Rows], Tensor]  # one observation [S, R] to its latents [1, N, L]

TOO_MANY = 3  # steps in a row that aren't as they should be are no accident


class Stream:
    """One environment's steps.

    Attributes:
        replay: where they go.
    """

    def __init__(self, replay: Replay, encode: EncodeOne) -> None:
        self.replay = replay
        self._skipped_in_a_row = 0
        self._encode = encode
        self.expected: Rows | None = None  # [S, R], the next step's observation if the episode goes on

    def add(
        self, now: Rows, following: Rows, action: NDArray[np.generic], reward: float, *, done: bool, truncated: bool,
        latents: Tensor | None,
    ) -> None:  # fmt: skip
        """Store a step from `now` to `following`, [S, R] both; `latents` [1, N, L] of `now` once latents are stored.

        Raises:
            SettingError: the observations aren't stacks of S frames.
        """
        continues = self.expected is not None and np.array_equal(now, self.expected)
        if self.replay.is_open and not continues:
            assert self.expected is not None
            self.replay.close(self._row(self.expected))
        if latents is None:
            if not np.array_equal(now[1:], following[:-1]):
                self._skip(now)
                return
            if not continues and (now[:-1] != now[-1]).any():
                self.replay.prime(now[:-1])
        self.replay.append(
            now[-1] if latents is None else latents,
            action,
            reward,
            terminated=done and not truncated,
            truncated=done and truncated,
            final_row=self._row(following) if done and truncated else None,
        )
        self.expected = None if done else following
        self._skipped_in_a_row = 0

    def _row(self, observation: Rows) -> Rows | Tensor:
        return self._encode(observation) if self.replay.holds_latents else observation[-1]

    def _skip(self, now: Rows) -> None:
        """It can't be rows. SB3 makes such a step where a callback has stopped `learn` and it is called again."""
        if self.replay.is_open:
            self.replay.close(self._row(now))
        self.expected = None
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row == TOO_MANY:
            raise SettingError(
                f"frame_stack is {len(now)}, but the next observation isn't this one shifted by one frame: "
                "pass replay_buffer_kwargs={'frame_stack': 1} to store whole observations"
            )
