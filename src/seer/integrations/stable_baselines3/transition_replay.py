"""The multi-environment replay behind the buffer: transitions written by environment, drawn from all as one.

Axes: B batch, E environments, S stack, R bytes of a row, N extractors, L features.
"""

import warnings
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.errors import SettingError
from seer.integrations.stable_baselines3.packing import ObservationPacker, Packed
from seer.integrations.stable_baselines3.transition_writer import EncodeOne, TransitionWriter
from seer.replay import MemoryBlock, MultiEnvReplay, Replay, RowFormat, Uniform
from seer.system_info import free_bytes


class Transitions(NamedTuple):
    """B transitions; `now` and `after` are rows [B, S, R] uint8 or latents [B, N, L] float32."""

    now: Tensor
    action: Tensor
    reward: Tensor
    after: Tensor
    discount: Tensor


class TransitionReplay:
    """Stores and draws the transitions of E environments, each in a block of memory of its own.

    Args:
        packer: of observations.
        action: as it is stored.
        capacity: rows of each environment.
        num_envs: E.
        n_step, discount: of the returns.
        rng: draws steps.
        encode: one observation [S, R] to its latents [1, N, L], once latents are stored.

    Attributes:
        packer: as given.
        writers: one per environment.
        rows: their replays as one.
        num_added: steps given so far.

    Raises:
        SettingError: the machine hasn't as much memory.
    """

    def __init__(
        self, packer: ObservationPacker, action: RowFormat, *, capacity: int, num_envs: int, n_step: int,
        discount: float, rng: np.random.Generator, encode: EncodeOne,
    ) -> None:  # fmt: skip
        self.packer, self.num_added = packer, 0
        self._rng, self._discount = rng, discount
        self._newest: list[tuple[Any, ...]] = []  # the last step of every environment
        replays = [
            Replay(
                memory=memory, frame=packer.row, stack=packer.stack, action=action, n_step=n_step, discount=discount,
                sampler=Uniform(), rng=rng,
            )
            for memory in allocate(capacity, packer.row.num_bytes, num_envs)
        ]  # fmt: skip
        self.writers = [TransitionWriter(replay, encode) for replay in replays]
        self.rows = MultiEnvReplay(replays, rng)

    @property
    def num_jumps(self) -> int:
        """Steps so far that led to another stack than their own shifted by one frame."""
        return sum(writer.num_jumps for writer in self.writers)

    def add(
        self, now: Packed, following: Packed, action: NDArray[Any], reward: NDArray[Any], *, done: NDArray[np.bool_],
        truncated: NDArray[np.bool_], latents: Tensor | None,
    ) -> None:  # fmt: skip
        """Store a step of every environment: observations [E, S, R], or `latents` [E, N, L] beside them."""
        for env, writer in enumerate(self.writers):
            writer.add(
                now[env], following[env], action[env], float(reward[env]), done=bool(done[env]),
                truncated=bool(truncated[env]), latents=None if latents is None else latents[env][None],
            )  # fmt: skip
        discount = np.where(done & ~truncated, 0.0, self._discount).astype(np.float32)
        self._newest = list(zip(now, action, np.asarray(reward, np.float32), following, discount, strict=True))
        self.num_added += len(self.writers)

    def draw(self, batch_size: int) -> NDArray[np.int64]:
        """Draw steps [B], every one stored equally likely: place * E + environment.

        Before a second step has come no row knows its next; then -1 - environment is that environment's last step.

        Raises:
            SettingError: nothing is stored.
        """
        num_envs, replays = len(self.writers), self.rows.replays
        weights = np.array([replay.num_sampleable for replay in replays])
        if not weights.any():
            if not self._newest:
                raise SettingError("the replay buffer is empty: nothing to sample yet")
            return -1 - self._rng.integers(num_envs, size=batch_size)
        counts = self._rng.multinomial(batch_size, weights / weights.sum())
        return np.concatenate(
            [replays[env].draw(int(counts[env]))[0] * num_envs + env for env in np.flatnonzero(counts)]
        )

    def read(self, drawn: NDArray[np.int64]) -> Transitions:
        """Return the steps `drawn` [B]; a last step that has no row for its next is of frames in any case.

        Raises:
            SettingError: `draw` can't have given them.
        """
        drawn = np.asarray(drawn)
        if (drawn < 0).all():
            columns = zip(*(self._newest[env] for env in -1 - drawn), strict=True)
            return Transitions(*(torch.from_numpy(np.stack(column)) for column in columns))
        places, envs = np.divmod(drawn, len(self.writers))
        borders = pairwise([0, *(np.flatnonzero(np.diff(envs)) + 1), len(drawn)])  # of runs of one environment each
        parts = [self.writers[envs[start]].read(places[start:end]) for start, end in borders]
        names = ("now", "action", "reward", "next", "discount")
        return Transitions(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs; the replays are under "streams", as in files of all versions."""
        streams = [(writer.replay.state_dict(), writer.expected, writer.num_jumps) for writer in self.writers]
        return {"streams": streams, "newest": self._newest, "num_added": self.num_added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        for writer, (replay, expected, num_jumps) in zip(self.writers, state["streams"], strict=True):
            writer.replay.load_state_dict(replay)
            writer.expected, writer.num_jumps = expected, num_jumps
        self._newest, self.num_added = state["newest"], state["num_added"]


def allocate(rows: int, row_bytes: int, num_envs: int) -> list[MemoryBlock]:
    """Return a block of `rows` rows for each environment, of which only what is written to becomes resident.

    Warns, as SB3 does, where that is more than this machine has free.

    Raises:
        SettingError: the system refuses.
    """
    total, free = rows * row_bytes * num_envs, free_bytes()
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
