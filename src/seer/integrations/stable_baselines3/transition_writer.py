"""A writer of one environment's transitions into a replay of its own.

SB3 hands over whole transitions; the replay has one row per observation, so that the next observation must be the next
row. Here that is checked at every step. Where an observation isn't the one that the step before led to (an environment
was reset from outside), the episode is closed and a new one begun; where a step leads to another stack than its own
shifted by one frame, that stack is stored whole. So every step is stored.

Axes: B batch, S stack, R bytes of a row.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seer.errors import SettingError
from seer.integrations.stable_baselines3.packing import Packed
from seer.replay import Batch, Replay

EncodeOne = Callable[[Packed], Tensor]  # one observation [S, R] to its latents [1, N, L]

TOO_MANY = 3  # jumps in a row: the observations aren't stacks
WHOLE = "pass replay_buffer_kwargs={'frame_stack': 1} to store whole observations"


class TransitionWriter:
    """Writes one environment's steps.

    Attributes:
        replay: where they go.
        num_jumps: steps so far that led to another stack than their own shifted by one frame.
        expected: the next step's observation [S, R] if the episode goes on.
    """

    def __init__(self, replay: Replay, encode: EncodeOne) -> None:
        self.replay = replay
        self.num_jumps = self._jumps_in_a_row = 0
        self._encode = encode
        self.expected: Packed | None = None

    def add(
        self, now: Packed, following: Packed, action: NDArray[np.generic], reward: float, *, done: bool,
        truncated: bool, latents: Tensor | None,
    ) -> None:  # fmt: skip
        """Store a step from `now` to `following`, [S, R] both; `latents` [1, N, L] of `now` once latents are stored.

        A terminated step needs no `following`.

        Raises:
            SettingError: the observations aren't stacks of S frames.
        """
        terminated = done and not truncated
        jumps = latents is None and not terminated and not np.array_equal(now[1:], following[:-1])
        if jumps:
            self._count_jump(len(now))
        elif not terminated:
            self._jumps_in_a_row = 0
        continues = self.expected is not None and np.array_equal(now, self.expected)
        if self.replay.is_open and not continues:
            assert self.expected is not None
            self.replay.close(self._row(self.expected))
        cut = done and truncated and not jumps
        row, final_row = now if latents is None else latents, self._row(following) if cut else None
        self.replay.append(row, action, reward, terminated=terminated, truncated=cut, final_row=final_row)
        if jumps:
            self.replay.close(following[-1], following[:-1])
        self.expected = None if done or jumps else following

    def read(self, places: NDArray[np.int64]) -> Batch:
        """Return the transitions at `places` [B].

        Raises:
            SettingError: none could be drawn at one of them.
        """
        if not self.replay.sampler.holds(places).all():
            raise SettingError("batch_inds of _get_samples must be those that SeerReplayBuffer.sample draws")
        return self.replay.batch(places, np.ones(len(places)))

    def _row(self, observation: Packed) -> Packed | Tensor:
        return self._encode(observation) if self.replay.holds_latents else observation[-1]

    def _count_jump(self, stack: int) -> None:
        self._jumps_in_a_row += 1
        if self._jumps_in_a_row == TOO_MANY:
            raise SettingError(
                f"frame_stack is {stack}, but the next observation isn't this one shifted by one frame, "
                f"{TOO_MANY} times in a row: {WHOLE}"
            )
        self.num_jumps += 1
        warnings.warn(
            "a step's next observation isn't its own one shifted by one frame, so it was stored whole, in up to "
            f"{2 * stack - 1} rows more; where SeerReplayBuffer.num_jumps shows many, {WHOLE}",
            stacklevel=4,
        )
