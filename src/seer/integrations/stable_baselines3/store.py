"""What all environments have played: a stream of rows for each, drawn from as one.

Axes: B batch, E environments, S stack, R bytes of a row, N extractors, L features.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.errors import SettingError
from seer.integrations.stable_baselines3.rows import ObservationRows, Rows
from seer.integrations.stable_baselines3.stream import EncodeOne, Stream
from seer.replay import MemoryBlock, Replay, RowFormat, Uniform


class Steps(NamedTuple):
    """B transitions; `now` and `after` are rows [B, S, R] uint8 or latents [B, N, L] float32."""

    now: Tensor
    action: Tensor
    reward: Tensor
    after: Tensor
    discount: Tensor


class Store:
    """The streams of E environments, each in a block of memory of its own.

    Args:
        rows: of observations.
        action: as it is stored.
        capacity: rows of each environment.
        num_envs: E.
        n_step, discount: of the returns.
        rng: draws steps.
        encode: one observation [S, R] to its latents [1, N, L], once latents are stored.

    Attributes:
        rows: as given.
        streams: one per environment.
        num_added: steps given so far.

    Raises:
        SettingError: the machine hasn't as much memory.
    """

    def __init__(
        self, rows: ObservationRows, action: RowFormat, *, capacity: int, num_envs: int, n_step: int, discount: float,
        rng: np.random.Generator, encode: EncodeOne,
    ) -> None:  # fmt: skip
        self.rows = rows
        self.num_added = 0
        self._rng = rng
        self._newest: list[tuple[Any, ...]] = []  # the last step of every environment
        self.streams = [
            Stream(
                Replay(
                    memory=memory, frame=rows.row, stack=rows.stack, action=action, n_step=n_step, discount=discount,
                    sampler=Uniform(), rng=rng,
                ),
                encode,
            )
            for memory in allocate(capacity, rows.row.num_bytes, num_envs)
        ]  # fmt: skip
        self._discount = discount

    @property
    def num_held(self) -> int:
        """Steps stored."""
        return sum(stream.replay.num_steps for stream in self.streams)

    def add(
        self, now: Rows, following: Rows, action: NDArray[Any], reward: NDArray[Any], *, done: NDArray[np.bool_],
        truncated: NDArray[np.bool_], latents: Tensor | None,
    ) -> None:  # fmt: skip
        """Store a step of every environment: observations [E, S, R], or `latents` [E, N, L] beside them."""
        for env, stream in enumerate(self.streams):
            stream.add(
                now[env],
                following[env],
                action[env],
                float(reward[env]),
                done=bool(done[env]),
                truncated=bool(truncated[env]),
                latents=None if latents is None else latents[env][None],
            )
        discount = np.where(done & ~truncated, 0.0, self._discount).astype(np.float32)
        self._newest = list(zip(now, action, np.asarray(reward, np.float32), following, discount, strict=True))
        self.num_added += len(self.streams)

    def draw(self, batch_size: int) -> NDArray[np.int64]:
        """Draw steps [B], every one stored equally likely: place * E + environment.

        Before a second step has come no row knows its next; then -1 - environment is that environment's last step.

        Raises:
            SettingError: nothing is stored.
        """
        weights = np.array([stream.replay.num_sampleable for stream in self.streams])
        if not weights.any():
            if not self._newest:
                raise SettingError("the replay buffer is empty: nothing to sample yet")
            return -1 - self._rng.integers(len(self.streams), size=batch_size)
        counts = self._rng.multinomial(batch_size, weights / weights.sum())
        return np.concatenate(
            [
                stream.replay.draw(int(count))[0] * len(self.streams) + env
                for env, (stream, count) in enumerate(zip(self.streams, counts, strict=True))
                if count > 0
            ]
        )

    def read(self, drawn: NDArray[np.int64]) -> Steps:
        """Return the steps `drawn` [B]; a last step that has no row for its next is of frames in any case.

        Raises:
            SettingError: `draw` can't have given them.
        """
        drawn = np.asarray(drawn)
        if (drawn < 0).all():
            columns = zip(*(self._newest[env] for env in -1 - drawn), strict=True)
            return Steps(*(torch.from_numpy(np.stack(column)) for column in columns))
        env = drawn % len(self.streams)
        runs = np.split(drawn, np.flatnonzero(np.diff(env)) + 1)  # of one environment each
        parts = [self.streams[run[0] % len(self.streams)].read(run // len(self.streams)) for run in runs]
        names = ("now", "action", "reward", "next", "discount")
        return Steps(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs."""
        streams = [(stream.replay.state_dict(), stream.expected, stream.num_jumps) for stream in self.streams]
        return {"streams": streams, "newest": self._newest, "num_added": self.num_added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        for stream, (replay, expected, num_jumps) in zip(self.streams, state["streams"], strict=True):
            stream.replay.load_state_dict(replay)
            stream.expected, stream.num_jumps = expected, num_jumps
        self._newest, self.num_added = state["newest"], state["num_added"]


def allocate(rows: int, row_bytes: int, num_envs: int) -> list[MemoryBlock]:
    """Return a block of `rows` rows for each environment, of which only what is written to becomes resident.

    Warns, as SB3 does, where that is more than this machine has free.

    Raises:
        SettingError: the system refuses.
    """
    total, free = rows * row_bytes * num_envs, int(psutil.virtual_memory().available)
    said = (
        f"buffer_size is {rows * num_envs:,}, which takes {total / 1e9:,.1f} GB in rows of {row_bytes:,} bytes, but "
        f"{free / 1e9:.1f} GB are free: give at most {free // row_bytes:,}"
    )
    try:
        blocks = [MemoryBlock(rows * row_bytes) for _ in range(num_envs)]
    except (RuntimeError, MemoryError) as error:  # PyTorch's allocator raises the former
        raise SettingError(said) from error
    if total > free:
        warnings.warn(said, stacklevel=4)
    return blocks
