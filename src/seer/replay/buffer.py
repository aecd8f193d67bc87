"""A ring of observations: one row each, stacks and n-step windows put together when they are sampled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from seer.errors import SettingError
from seer.replay.codec import LATENT_DTYPES, Codec, ErrorMeter, Int8Codec, load_codec
from seer.replay.memory import Arena, RowFormat
from seer.replay.samplers import Sampler
from seer.replay.state import Pieces
from seer.replay.transcode import Encode, Progress, Transcoding, check_encoded, refuse_unfitted, transcode_rows
from seer.replay.transitions import FLOAT32_MAX, End, Steps, refuse_action

Padding = Literal["repeat", "zero"]
"""What fills the stack of an episode's first steps: its first frame, or black ones."""

_FITTED_ROWS = 1024  # stored observations that the range of int8 is fitted to

DTYPES = {"uint8": torch.uint8} | LATENT_DTYPES
"""Of stored rows, by the names they have in a saved state."""


@dataclass(frozen=True)
class Batch:
    """B sampled n-step transitions.

    Axes: B batch, S stack, C channels, H, W, N encoders, L latent, A actions. `m` is the number of steps
    until the window of n is full or the episode ends. Tensors are on the arena's device.

    Attributes:
        now: frames `[B, S, C, H, W]` uint8, or latents `[B, N, L]` float32: the observation at t.
        action: `[B]` int64 or `[B, A]` float32: taken at t.
        reward: `[B]` float32: sum of discount^k r_{t+k} over k < m.
        next: like `now`: the observation at t+m; without meaning after a true end.
        discount: `[B]` float32: discount^m, or 0 after a true end.
        weight: `[B]` float32: importance weights, the largest of a batch is 1.
        index: `[B]` int64: ids of the rows, for `Replay.update_priorities`.
    """

    now: Tensor
    action: Tensor
    reward: Tensor
    next: Tensor
    discount: Tensor
    weight: Tensor
    index: NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """How stored rows make up an observation: `stack` rows each, of which one of `crops` parts is read and decoded."""

    row: RowFormat
    codec: Codec
    stack: int
    crops: int
    observation_shape: tuple[int, ...]

    @classmethod
    def of_frames(cls, frame: RowFormat, stack: int) -> Self:
        """Rows are frames `[C, H, W]`; an observation is `[S, C, H, W]`."""
        codec = Codec(frame.dtype, frame.dtype)
        return cls(row=frame, codec=codec, stack=stack, crops=1, observation_shape=(stack, *frame.shape))

    @classmethod
    def of_latents(cls, latent: RowFormat, codec: Codec) -> Self:
        """Rows are latents `[K, N, L]`; an observation is `[N, L]`."""
        return cls(row=latent, codec=codec, stack=1, crops=latent.shape[0], observation_shape=latent.shape[1:])


class Replay:
    """The last observations, frames at first and latents after `transcode`, and how to sample from them.

    Rows have ever-growing ids and the newest `size` ids are stored. A row can be drawn once its n-step window
    is complete and until the write head takes the first row of its stack: nothing sampled crosses the head.

    Args:
        arena: the memory; as many rows are kept as fit.
        frame: `[C, H, W]` uint8.
        stack: S, frames per observation.
        padding: what stands in for the predecessors that an episode's first frames don't have.
        action: `()` int64 or `(A,)` float32.
        n_step: n, the number of steps folded into one transition.
        discount: per step.
        sampler: which rows are drawn; the replay fills it.
        rng: draws rows and crops; its state is part of the replay's.
        number: tells its pieces of memory from those of the others in a checkpoint, where it is one of `Streams`.

    Raises:
        SettingError: the arena is too small for one window and its stack, or one of them or the discount out of range.
    """

    def __init__(
        self,
        *,
        arena: Arena,
        frame: RowFormat,
        stack: int,
        action: RowFormat,
        n_step: int,
        discount: float,
        sampler: Sampler,
        rng: np.random.Generator,
        number: int | None = None,
        padding: Padding = "repeat",
    ) -> None:
        if padding not in get_args(Padding):
            raise SettingError(f"padding is {padding!r}: give one of {', '.join(get_args(Padding))}")
        if n_step < 1 or stack < 1 or not 0 <= discount <= 1:
            raise SettingError(
                f"n_step is {n_step}, stack {stack} and discount {discount}: give 1 or more, 1 or more, and 0 to 1"
            )
        needed = (n_step + stack + 1) * frame.num_bytes
        if arena.num_bytes < needed:
            raise SettingError(
                f"replay memory is {arena.num_bytes} bytes: n_step {n_step} and stack {stack} need {needed} or more"
            )
        self._arena = arena
        self._action_format = action
        self._n_step = n_step
        self._discounts = discount ** np.arange(n_step + 1)
        self._number = number
        self._padding = padding
        self._sampler = sampler
        self._rng = rng
        self._count = 0  # rows ever appended: the next row's id
        self._origin = 0  # an id whose place is 0: the place of every other is (id - origin) % capacity
        self._age = 0  # the next row's age
        self._pending = 0  # newest rows, all of the open episode, whose window isn't complete
        self.holds_latents = False
        self._frames = Layout.of_frames(frame, stack)
        self._use(self._frames)
        self._steps = Steps(self.capacity, action)
        sampler.rearrange(np.empty(0, np.int64), self.capacity)

    @property
    def streams(self) -> tuple["Replay", ...]:
        """Itself: the steps of one environment. See `Streams`."""
        return (self,)

    @property
    def sampler(self) -> Sampler:
        """Which rows are drawn."""
        return self._sampler

    @property
    def row(self) -> RowFormat:
        """Format of the stored rows now."""
        return self._layout.row

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of what is sampled now: `[S, C, H, W]` of frames, `[N, L]` of latents."""
        return self._layout.observation_shape

    @property
    def device(self) -> torch.device:
        """Where the arena lives."""
        return self._arena.device

    @property
    def clipped_share(self) -> float | None:
        """Of the numbers of latents stored as int8, the share outside its range; None where nothing is clipped."""
        return self._layout.codec.clipped_share

    @property
    def size(self) -> int:
        """Rows stored, closing rows included."""
        return min(self._count - self._origin, self.capacity)

    @property
    def num_sampleable(self) -> int:
        """Rows that can be drawn."""
        return self._sampler.num_sampleable

    @property
    def num_steps(self) -> int:
        """Steps stored: rows that can be drawn, now or once their window is complete."""
        return self._sampler.num_sampleable + self._pending

    @property
    def num_bytes(self) -> int:
        """Bytes of the arena: what the memory setting buys."""
        return self._arena.num_bytes

    @property
    def index_bytes(self) -> int:
        """Bytes allocated beside the arena: actions, rewards, episode ends, priorities."""
        return self._steps.num_bytes + self._sampler.num_bytes

    def append(
        self,
        row: Tensor | NDArray[np.uint8],
        action: ArrayLike,
        reward: float,
        *,
        terminated: bool,
        truncated: bool = False,
        final_row: Tensor | NDArray[np.uint8] | None = None,
    ) -> None:
        """Store one step.

        Args:
            row: the newest frame `[C, H, W]` of the observation the action was taken in, or all its frames
                `[S, C, H, W]`, of which that one is stored and, where an episode begins, the others are checked. Once
                the replay holds latents, that observation's latents `[K, N, L]` float32, however they are stored.
            action: the action taken.
            reward: the reward that followed.
            terminated: the step led to a true end.
            truncated: the step was the last before a time limit. Ignored if `terminated`.
            final_row: like `row`, of the observation after a truncated last step; read only then.

        Raises:
            ValueError: a row of the wrong shape or dtype, a truncated step without its final row, an action that isn't
                of the action space, or a number that isn't finite in float32.
            SettingError: an episode begins with other frames before the first than `padding` says.
        """
        end = End.TERMINATED if terminated else End.TRUNCATED if truncated else End.GOING_ON
        if end is End.TRUNCATED and final_row is None:
            raise ValueError("a truncated step needs final_row, the observation after it")
        if not abs(reward) <= FLOAT32_MAX:
            raise ValueError(f"reward is {reward}: it must be a finite number in float32")
        refuse_action(action, self._action_format)
        self._refuse_other_padding(row)
        self._write(row, action, reward, end)
        self._pending += 1
        self._complete(self._pending - self._n_step if end is End.GOING_ON else self._pending)
        if end is End.TRUNCATED and final_row is not None:
            self._write(final_row, action, 0.0, End.CLOSING)  # its action is never read

    @property
    def is_open(self) -> bool:
        """Whether the newest row's episode goes on."""
        return self._pending > 0

    def prime(self, rows: Tensor | NDArray[np.uint8]) -> None:
        """Begin an episode whose first stack isn't one frame repeated: `rows` [<= S - 1, C, H, W] precede it.

        They complete the stacks of the episode's first steps and are never drawn themselves.

        Raises:
            ValueError: an episode is open.
        """
        if self.is_open:
            raise ValueError("an episode is open: close it first")
        nothing = np.zeros(self._action_format.shape)
        for row in rows:
            self._write(row, nothing, 0.0, End.GOING_ON)

    def close(
        self,
        final_row: Tensor | NDArray[np.uint8],
        preceding: Tensor | NDArray[np.uint8] | None = None,
    ) -> None:
        """End the open episode after its last step, as a time limit would have; `final_row` as for `append`.

        Args:
            preceding: `[S - 1, C, H, W]`, the rest of the final observation's stack, where that isn't the newest
                observation shifted by one frame; only while frames are stored. These rows are never drawn.

        Raises:
            ValueError: no episode is open.
        """
        if not self.is_open:
            raise ValueError("no episode is open")
        jumped = preceding is not None and len(preceding) > 0
        self._steps.end[self._place(self._count - 1)] = End.JUMPED if jumped else End.TRUNCATED
        self._complete(self._pending)
        nothing = np.zeros(self._action_format.shape)
        if preceding is not None and jumped:
            self._age = 0
            for row in preceding:
                self._write(row, nothing, 0.0, End.GOING_ON)
        self._write(final_row, nothing, 0.0, End.CLOSING)

    def sample(self, batch_size: int, importance_exponent: float = 1.0) -> Batch:
        """Draw `batch_size` n-step transitions with replacement.

        Args:
            batch_size: B.
            importance_exponent: beta in weight = probability^-beta / its maximum over the batch. (The number
                of rows, by which Schaul et al. 2016 multiply the probability, cancels.)

        Raises:
            SettingError: no window is complete yet, or `batch_size` is below 1.
        """
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}: draw 1 or more")
        if self.num_sampleable == 0:
            raise SettingError(
                f"none of the {self.size} stored rows has a complete window of n_step {self._n_step}: "
                "start updates later"
            )
        places, probability = self.draw(batch_size)
        weight = probability**-importance_exponent
        return self.batch(places, weight / weight.max())

    def draw(self, batch_size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Places `[B]` of rows, and the probability `[B]` of drawing each."""
        return self._sampler.sample(batch_size, self._rng)

    def batch(self, places: NDArray[np.int64], weight: NDArray[np.float64]) -> Batch:
        """The transitions at `places` `[B]` with these weights `[B]`."""
        reward, discount, following = self._steps.fold(places, self._discounts, self._frames.stack)
        now, after = self._gather(np.stack([places, following]))
        numbers = np.stack([reward, discount, weight], dtype=np.float32)
        rewards, discounts, weights = self._to_device(numbers)
        return Batch(
            now=now,
            action=self._to_device(self._steps.action[places]),
            reward=rewards,
            next=after,
            discount=discounts,
            weight=weights,
            index=self._id(places),
        )

    def recent(self, count: int, *, span: int) -> NDArray[np.int64]:
        """Ids of up to `count` observations, evenly spaced over the newest `span` rows, oldest first."""
        incomplete = 0 if self._count == self.size else self._layout.stack - 1  # have lost part of their stack
        span = max(0, min(span, self.size - incomplete))
        return np.unique(np.linspace(self._count - span, self._count - 1, min(count, span)).round().astype(np.int64))

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        """The stored observations `ids` `[B]`: frames `[B, S, C, H, W]` uint8, or latents `[B, K, N, L]` float32."""
        places = (ids - self._origin) % self.capacity
        stacks = self._steps.stack(places, self._layout.stack)
        read = self._layout.codec.decode(self._rows.index_select(0, self._to_device(stacks.ravel())))
        return read if self.holds_latents else self._padded(read.view(len(ids), *self.observation_shape), places)

    def update_priorities(self, index: NDArray[np.int64], priority: Tensor | NDArray[np.floating]) -> None:
        """Give the rows `index` `[B]` of a batch new priorities `[B]`; rows overwritten since are skipped.

        Raises:
            ValueError: a priority is negative or not finite.
        """
        values = torch.as_tensor(priority).detach().to("cpu", torch.float64).numpy()
        stored = index >= self._count - self.size
        self._sampler.update((index[stored] - self._origin) % self.capacity, values[stored])

    def transcode(
        self,
        encode: Encode,
        latent: RowFormat,
        *,
        chunk_rows: int = 32,
        progress: Progress | None = None,
    ) -> Transcoding:
        """Replace the stored frames by their latents, inside the same memory; the capacity grows.

        Order, ids, priorities, episode ends and the open episode survive. The oldest rows that have lost part
        of their stack, S - 1 at most, are dropped. If a latent row is larger than a frame row, nothing
        changes: a replay never shrinks.

        Args:
            encode: frames `[B, S, C, H, W]` uint8 on the arena's device to latents `[B, K, N, L]` float32.
            latent: `[K, N, L]`, and what they are stored as: float32, float16, bfloat16, or int8, whose range is first
                fitted to up to 1,024 of the stored observations, evenly spaced.
            chunk_rows: observations encoded at a time; few, so that the conversion needs no more memory than an update.
            progress: called after every chunk with the rows done and the rows in all.

        Raises:
            ValueError: the replay holds latents already, `latent` is of another dtype than those, or `encode` returned
                another shape or dtype (the replay is then of no more use).
            SettingError: int8, but no observation is stored to fit its range to.
        """
        if self.holds_latents:
            raise ValueError("the replay holds latents already")
        if latent.dtype not in LATENT_DTYPES.values():
            raise ValueError(f"latents can't be stored as {latent.dtype}, only as {', '.join(LATENT_DTYPES)}")
        rows_before, capacity_before, frame = self.size, self.capacity, self.row
        dropped = fitted = 0
        meter = ErrorMeter(latent.shape, self._arena.device)
        converted = latent.num_bytes <= frame.num_bytes
        if converted:
            codec, fitted = self._fit(encode, latent, chunk_rows)
            dropped = self._convert(
                encode,
                latent,
                codec,
                chunk_rows=chunk_rows,
                progress=progress,
                meter=None if codec.is_exact else meter,
            )
        return Transcoding(
            converted=converted,
            rows=rows_before - dropped if converted else 0,
            dropped=dropped,
            capacity_before=capacity_before,
            capacity_after=self.capacity,
            row_bytes_before=frame.num_bytes,
            row_bytes_after=self.row.num_bytes,
            fitted=fitted,
            error=meter.result(self._layout.codec) if meter.count else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs. Tensors and arrays are views: write them out before going on.

        `memory` is the part of the arena that is in use, `[size * row.num_bytes]` bytes in pieces; a piece whose name
        was in an earlier state of this run has the bytes that it had there.
        """
        return {
            "settings": self._settings(),
            "holds_latents": self.holds_latents,
            "row_shape": list(self.row.shape),
            "row_dtype": str(self.row.dtype).removeprefix("torch."),
            "codec": self._layout.codec.state_dict(),
            "count": self._count,
            "origin": self._origin,
            "age": self._age,
            "pending": self._pending,
            "rng": self._rng.bit_generator.state,
            "memory": self._pieces.first(self.size * self.row.num_bytes),
            "written": torch.from_numpy(self._pieces.written),
            "steps": _as_tensors(self._steps.state_dict(self.size)),
            "sampler": _as_tensors(self._sampler.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, in the phase it was saved in.

        Raises:
            SettingError: the state comes from a replay of another memory size, frame shape, stack or n-step.
        """
        theirs = {"padding": "repeat"} | state["settings"]  # which older states had, without saying so
        for name, value in self._settings().items():
            if theirs[name] != value:
                raise SettingError(f"{name} is {value} but the saved replay has {theirs[name]}: set it to that")
        self.holds_latents = bool(state["holds_latents"])
        row = RowFormat(tuple(state["row_shape"]), DTYPES[state["row_dtype"]])
        if self.holds_latents:
            self._use(Layout.of_latents(row, load_codec(row.dtype, state.get("codec", {}), self._arena.device)))
        else:
            self._use(self._frames)
        self._count, self._origin = state["count"], state["origin"]
        self._age, self._pending = state["age"], state["pending"]
        if not 0 <= self._origin <= self._count or not 0 <= self._pending <= self.size:
            raise ValueError(
                f"no replay has {self._count} rows from {self._origin} on, {self._pending} of them pending"
            )
        self._rng.bit_generator.state = state["rng"]
        self._pieces.written[:] = np.asarray(state["written"])
        self._pieces.load(state["memory"], self.size * self.row.num_bytes)
        self._steps = Steps(self.capacity, self._action_format)
        self._steps.load_state_dict(_as_arrays(state["steps"]), self.size)
        self._sampler.load_state_dict(_as_arrays(state["sampler"]), self.capacity)

    def _settings(self) -> dict[str, Any]:
        """Return what a saved state must agree with."""
        return {
            "replay memory in bytes": self.num_bytes,
            "frame shape": list(self._frames.row.shape),
            "stack": self._frames.stack,
            "n_step": self._n_step,
            "padding": self._padding,
        }

    def _use(self, layout: Layout) -> None:
        """Read the arena as `layout` says from now on."""
        self._layout = layout
        self._rows = self._arena.rows(layout.row)
        self.capacity = len(self._rows)
        self._parts = self._rows.view(self.capacity * layout.crops, -1)
        generation = "latents" if self.holds_latents else "frames"
        own = "" if self._number is None else f"-{self._number}"
        self._pieces = Pieces(self._rows, generation=generation + own)

    @torch.no_grad()
    def _fit(self, encode: Encode, latent: RowFormat, chunk_rows: int) -> tuple[Codec, int]:
        """What stores the latents, and how many observations were encoded to find out."""
        if latent.dtype != torch.int8:
            return Codec(torch.float32, latent.dtype), 0
        ids = self.recent(_FITTED_ROWS, span=self.size)
        refuse_unfitted(latent.dtype, [len(ids)])

        def encoded() -> Iterator[Tensor]:
            for part in np.split(ids, range(chunk_rows, len(ids), chunk_rows)):
                latents = encode(self.read(part))
                check_encoded(latents, (len(part), *latent.shape), torch.float32)
                yield latents

        return Int8Codec.fitted(encoded()), len(ids)

    def _convert(
        self,
        encode: Encode,
        latent: RowFormat,
        codec: Codec,
        *,
        chunk_rows: int,
        progress: Progress | None,
        meter: ErrorMeter | None,
    ) -> int:
        """Turn frames, oldest first, into latents; return how many of the oldest rows were dropped."""
        oldest = self._count - self.size
        order = (np.arange(self.size) + self._place(oldest)) % self.capacity  # places, oldest first
        self._arena.rotate(self.row, self._place(oldest))
        dropped = transcode_rows(
            self._rows,
            self._arena.rows(latent),
            self._steps.age[order],
            encode,
            codec,
            stack=self._layout.stack,
            black=self._padding == "zero",
            chunk_rows=chunk_rows,
            progress=progress,
            meter=meter,
        )
        self.holds_latents = True
        self._use(Layout.of_latents(latent, codec))
        self._origin = oldest + dropped
        self._pieces.written[:] = self._count
        self._steps = self._steps.rearranged(order[dropped:], self.capacity)
        self._sampler.rearrange(order[dropped:], self.capacity)
        return dropped

    def _write(self, row: Tensor | NDArray[np.uint8], action: ArrayLike, reward: float, end: End) -> None:
        """Put one row at the write head."""
        row = torch.as_tensor(row)
        if not self.holds_latents and row.shape == self._frames.observation_shape:
            row = row[-1]
        codec = self._layout.codec
        if row.shape != self.row.shape or row.dtype != codec.plain:
            raise ValueError(f"row is {tuple(row.shape)} {row.dtype}, not {self.row.shape} {codec.plain}")
        if row.is_floating_point() and not torch.isfinite(row).all():
            raise ValueError("row has numbers that aren't finite")
        place = self._place(self._count)
        if self.size == self.capacity:
            self._retire(place)
        self._rows[place] = codec.encode(row.to(self._arena.device))
        self._pieces.write(place, self._count + 1)
        self._steps.write(place, action=action, reward=reward, age=self._age, end=end)
        self._count += 1
        last = end in (End.TERMINATED, End.CLOSING)
        self._age = 0 if last else min(self._age + 1, self._layout.stack - 1)

    def _refuse_other_padding(self, row: Tensor | NDArray[np.uint8]) -> None:
        """Refuse an episode's first observation, if all its frames are given, that would be sampled as another one."""
        if self.holds_latents or self._age or tuple(row.shape) != self._frames.observation_shape:
            return
        *before, first = torch.as_tensor(row)
        found = [
            name
            for name, filler in {"repeat": first, "zero": torch.zeros_like(first)}.items()
            if all(torch.equal(frame, filler) for frame in before)
        ]
        if found and self._padding not in found:
            raise SettingError(
                f"padding is {self._padding!r}, but an episode's first stack is padded by {found[0]!r}: make the "
                f"replay with padding={found[0]!r}"
            )
        if not found:
            raise SettingError(
                "an episode's first stack holds frames that weren't stored: reset the environment when an episode "
                "ends, or give those frames to the replay's prime()"
            )

    def _padded(self, stacks: Tensor, places: NDArray[np.int64]) -> Tensor:
        """Stacks `[..., S, C, H, W]` as read for `places` `[...]`, black before an episode if that is the padding."""
        if self._padding == "zero":
            stacks[self._to_device(self._steps.missing(places, self._layout.stack))] = 0
        return stacks

    def _complete(self, num_rows: int) -> None:
        """Start drawing the oldest `num_rows` of the pending rows, if that is any."""
        if num_rows > 0:
            first = self._count - self._pending
            self._sampler.enable([self._place(row_id) for row_id in range(first, first + num_rows)])
            self._pending -= num_rows

    def _retire(self, place: int) -> None:
        """Stop drawing the rows whose stack contains the one at `place`, which is about to be overwritten."""
        nearby = [(place + k) % self.capacity for k in range(self._layout.stack)]
        self._sampler.disable([near for k, near in enumerate(nearby) if self._steps.age[near] >= k])

    def _gather(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Read the observations at `places` `[2, B]`, a random crop of each, in one pass over the arena."""
        layout = self._layout
        stacks = self._steps.stack(places.ravel(), layout.stack)  # [2 B, S]
        parts = stacks * layout.crops + self._rng.integers(layout.crops, size=stacks.shape)
        read = self._parts.index_select(0, self._to_device(parts.ravel()))
        read = layout.codec.decode(read.view(*places.shape, *layout.observation_shape))
        now, after = read if self.holds_latents else self._padded(read, places)
        return now, after

    def _place(self, row_id: int) -> int:
        """Return where a row is."""
        return (row_id - self._origin) % self.capacity

    def _id(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which rows are at `places`."""
        oldest = self._count - self.size
        return oldest + (places - self._place(oldest)) % self.capacity

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._arena.device)


def _as_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """A state whose arrays are tensors of the same memory, which `torch.load` reads without being asked to trust it."""
    return {name: torch.from_numpy(each) if isinstance(each, np.ndarray) else each for name, each in state.items()}


def _as_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """Undo `_as_tensors`; older states hold arrays."""
    return {name: each.cpu().numpy() if isinstance(each, Tensor) else each for name, each in state.items()}
