"""The newest rows, in one block of memory that is written round and round.

A row's id is how many rows were written before it; its place is where in the block it lies. Ids only grow.

Axes: B batch, S stack, C channels, H height, W width, K crops, N latents per observation, L latent size.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from seer.core.rows import LATENT_DTYPES, RowFormat
from seer.replay.codec import load_codec
from seer.replay.layout import Layout, refuse_other_stack
from seer.replay.memory import Block
from seer.replay.state import Pieces, as_arrays, as_tensors
from seer.replay.transitions import End, Steps

Ids = TypeVar("Ids", int, NDArray[np.int64])

_DTYPES = {"uint8": torch.uint8} | LATENT_DTYPES  # of stored rows, by the names they have in a saved state


class Ring:
    """Rows, frames at first and latents after `use_latents`, each with the step that was played there.

    Args:
        memory: as many rows are kept as fit.
        frames: how they make up observations until `use_latents`.
        action: how actions are stored.
        number: tells its pieces of memory from those of other rings in a checkpoint.

    Attributes:
        memory: as given.
        layout: how rows make up observations now.
        holds_latents: whether rows are latents.
        capacity: the number of places.
        count: rows ever written: the next row's id.
        age: the next row's: how many rows of its episode come before it, S - 1 at most.
        steps: the steps, by place.
    """

    def __init__(self, memory: Block, frames: Layout, action: RowFormat, *, number: int | None = None) -> None:
        self.memory, self._frames, self._action, self._number = memory, frames, action, number
        self.count = self.age = 0
        self._origin = 0  # an id whose place is 0: the place of every other is (id - origin) % capacity
        self._use(frames)
        self.steps = Steps(self.capacity, action)

    @property
    def size(self) -> int:
        """Return how many rows are stored."""
        return min(self.count - self._origin, self.capacity)

    def places(self, ids: Ids) -> Ids:
        """Return where rows are."""
        return (ids - self._origin) % self.capacity

    def places_of_whole(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where rows `[B]` are; ValueError if one isn't stored, or not with all of its stack."""
        places, oldest = self.places(ids), self.count - self.size
        before = np.minimum(self.steps.age[places], self.layout.stack - 1)  # rows of its stack
        if ((ids - before < oldest) | (ids >= self.count)).any():
            raise ValueError(f"the replay holds rows {oldest} to {self.count - 1}: not all that are to be read")
        return places

    def ids(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which rows are at `places` `[B]`."""
        oldest = self.count - self.size
        return oldest + (places - self.places(oldest)) % self.capacity

    def row_of(self, given: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return the row to write for what `Replay.append` was given.

        Raises:
            ValueError: it has another shape or dtype than a row, or numbers that aren't finite.
        """
        row, layout = torch.as_tensor(given), self.layout
        if self._is_stack(row):
            row = row[-1]
        if row.shape != layout.row.shape or row.dtype != layout.codec.plain:
            raise ValueError(f"row is {tuple(row.shape)} {row.dtype}, not {layout.row.shape} {layout.codec.plain}")
        if row.is_floating_point() and not torch.isfinite(row).all():
            raise ValueError("row has numbers that aren't finite")
        return row

    def write(self, given: Tensor | NDArray[np.uint8], action: ArrayLike, reward: float, end: End) -> list[int]:
        """Write one row and the step played there, in place of the oldest if the memory is full.

        Returns the places whose stack contained that row. Raises what `row_of` does, before anything is written.
        """
        stored = self.layout.codec.encode(self.row_of(given).to(self.memory.device))
        place, lost = self.places(self.count), []
        if self.size == self.capacity:
            nearby = [(place + k) % self.capacity for k in range(self.layout.stack)]
            lost = [near for k, near in enumerate(nearby) if self.steps.age[near] >= k]
        self.memory.write_rows(self.layout.row, place, stored[None])
        self._pieces.write(place, self.count + 1)
        self.steps.write(place, action=action, reward=reward, age=self.age, end=end)
        self.count += 1
        last = end in (End.TERMINATED, End.CLOSING)
        self.age = 0 if last else min(self.age + 1, self.layout.stack - 1)
        return lost

    def refuse_other_stacks(self, given: Tensor | NDArray[np.uint8], final: Tensor | NDArray[np.uint8] | None) -> None:
        """Refuse whole stacks that aren't those of the rows here: the next one, and the `final` one after it.

        Raises:
            SettingError: see `layout.refuse_other_stack`.
        """
        if not self._is_stack(given):
            return
        stack = torch.as_tensor(given)
        if self.age > 0:
            place = self.places(self.count - 1)
            (last,) = self.memory.read_rows(self.layout.row, place, place + 1)
            refuse_other_stack(stack, last)
        if final is not None and self._is_stack(final):
            refuse_other_stack(torch.as_tensor(final), stack[-1])

    def preceding(self, given: Tensor | NDArray[np.uint8]) -> Sequence[Tensor]:
        """Return the frames to store before what begins an episode: of a whole stack that isn't one frame repeated."""
        if self.age > 0 or not self._is_stack(given):
            return ()
        *before, newest = torch.as_tensor(given)
        return () if all(torch.equal(frame, newest) for frame in before) else before

    def cut(self, end: End) -> None:
        """Cut the newest row's episode after it."""
        self.steps.end[self.places(self.count - 1)] = end
        if end is End.JUMPED:
            self.age = 0

    def clear(self) -> None:
        """Forget every row; ids go on."""
        self._origin, self.age = self.count, 0
        self.steps = Steps(self.capacity, self._action)

    def recent(self, count: int, *, span: int) -> NDArray[np.int64]:
        """Return the ids of up to `count` observations, evenly spaced over the newest `span` rows, oldest first."""
        incomplete = 0 if self.count == self.size else self.layout.stack - 1  # have lost part of their stack
        span = max(0, min(span, self.size - incomplete))
        return np.unique(np.linspace(self.count - span, self.count - 1, min(count, span)).round().astype(np.int64))

    def read(self, places: NDArray[np.int64]) -> Tensor:
        """Return the observations at `places` `[B]`: `[B, S, C, H, W]` uint8, or latents `[B, K, N, L]` float32."""
        stacks = self.steps.stack(places, self.layout.stack)
        stored = self.memory.take(self.layout.row, torch.from_numpy(stacks.ravel()))
        read = self.layout.codec.decode(stored)
        return read if self.holds_latents else read.view(len(places), *self.layout.observation_shape)

    def gather(self, places: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Return the observations at `places` `[...]`, of latents a random crop each, in one pass over the memory."""
        layout = self.layout
        stacks = self.steps.stack(places.ravel(), layout.stack)
        parts = stacks * layout.crops + rng.integers(layout.crops, size=stacks.shape)
        read = self.memory.take(self._part, torch.from_numpy(parts.ravel()))
        return layout.codec.decode(read.view(*places.shape, *layout.observation_shape))

    def use_latents(self, layout: Layout, kept: NDArray[np.int64]) -> None:
        """Read the memory as latents from now on, of which the first are of the rows that were at places `kept`."""
        self._use(layout)
        self._origin = self.count - len(kept)
        self._pieces.written[:] = self.count
        self.steps = self.steps.rearranged(kept, self.capacity)

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor beside the rows."""
        return torch.from_numpy(array).to(self.memory.device)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs; see `Replay.state_dict`."""
        row = self.layout.row
        return {
            "holds_latents": self.holds_latents,
            "row_shape": list(row.shape),
            "row_dtype": str(row.dtype).removeprefix("torch."),
            "codec": self.layout.codec.state_dict(),
            "count": self.count,
            "origin": self._origin,
            "age": self.age,
            "memory": self._pieces.first(self.size * row.num_bytes),
            "written": torch.from_numpy(self._pieces.written),
            "steps": as_tensors(self.steps.state_dict(self.size)),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, in the phase it was saved in.

        Raises:
            ValueError: no ring of this memory has such a state.
        """
        row = RowFormat(tuple(state["row_shape"]), _DTYPES[state["row_dtype"]])
        if state["holds_latents"]:
            codec = load_codec(row.dtype, state.get("codec", {}), self.memory.device)
            self._use(Layout.of_latents(row, codec))
        else:
            self._use(self._frames)
        self.count, self._origin, self.age = state["count"], state["origin"], state["age"]
        self._pieces.written[:] = np.asarray(state["written"])
        self._pieces.load(state["memory"], self.size * row.num_bytes)
        self.steps = Steps(self.capacity, self._action)
        self.steps.load_state_dict(as_arrays(state["steps"]), self.size)

    def _use(self, layout: Layout) -> None:
        """Read the memory as `layout` says from now on."""
        self.layout, self.holds_latents = layout, layout is not self._frames
        self.capacity = self.memory.num_bytes // layout.row.num_bytes
        self._part = RowFormat((math.prod(layout.row.shape) // layout.crops,), layout.row.dtype)  # of a row, one crop's
        own = "" if self._number is None else f"-{self._number}"
        generation = ("latents" if self.holds_latents else "frames") + own
        self._pieces = Pieces(self.memory, layout.row, generation=generation)

    def _is_stack(self, given: Tensor | NDArray[np.uint8]) -> bool:
        """Say whether a whole stack of frames was given, not one frame or latents."""
        return not self.holds_latents and tuple(given.shape) == self.layout.observation_shape
