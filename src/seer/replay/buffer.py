"""The replay: one row per observation; stacks and n-step windows are put together when they are sampled.

Axes: B batch, S stack, C channels, H height, W width, K crops, N latents per observation, L latent size, A actions.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from seer.core.rows import Encode, Progress, RowFormat
from seer.errors import SettingError
from seer.replay.batch import Batch
from seer.replay.layout import Layout
from seer.replay.memory import Block
from seer.replay.ring import Ring
from seer.replay.samplers import Sampler
from seer.replay.state import as_arrays, as_tensors, refuse_other_settings
from seer.replay.transcode import Transcoding, transcode
from seer.replay.transitions import End, refuse_step


class Replay:
    """The last observations of one environment, frames at first and latents after `transcode`, to sample from.

    Rows have ever-growing ids and the newest `size` ids are stored. A row can be drawn once its n-step window
    is complete and until the write head takes the first row of its stack: nothing sampled crosses the head.

    Args:
        memory: as many rows are kept as fit.
        frame, stack: `[C, H, W]` uint8, and S of them per observation.
        action: `()` int64 or `(A,)` float32.
        n_step, discount: n, the number of steps folded into one transition, and the discount per step.
        sampler: which rows are drawn; the replay fills it.
        rng: draws rows and crops; its state is part of the replay's.
        number: tells its pieces of memory from those of the others in a checkpoint, in a `MultiEnvReplay`.

    Raises:
        SettingError: the memory is too small for one window and its stack, or one of them or the discount out of range.
    """

    def __init__(
        self,
        *,
        memory: Block,
        frame: RowFormat,
        stack: int,
        action: RowFormat,
        n_step: int,
        discount: float,
        sampler: Sampler,
        rng: np.random.Generator,
        number: int | None = None,
    ) -> None:
        if n_step < 1 or stack < 1 or not 0 <= discount <= 1:
            raise SettingError(
                f"n_step is {n_step}, stack {stack} and discount {discount}: give 1 or more, 1 or more, and 0 to 1"
            )
        needed = (n_step + stack + 1) * frame.num_bytes
        if memory.num_bytes < needed:
            raise SettingError(
                f"replay memory is {memory.num_bytes} bytes: n_step {n_step} and stack {stack} need {needed} or more"
            )
        self._action_format = action
        self._n_step = n_step
        self._discounts = discount ** np.arange(n_step + 1)
        self.sampler = sampler
        self._rng = rng
        self._pending = 0  # newest rows, all of the open episode, whose window isn't complete
        self._ring = Ring(memory, Layout.of_frames(frame, stack), action, number=number)
        self._settings: dict[str, Any] = {  # a saved state must agree with these
            "replay memory in bytes": memory.num_bytes,
            "frame shape": list(frame.shape),
            "stack": stack,
            "n_step": n_step,
        }
        sampler.rearrange(np.empty(0, np.int64), self.capacity)

    @property
    def replays(self) -> tuple["Replay", ...]:
        """Return itself: the replay of one environment, as `MultiEnvReplay.replays` are of several."""
        return (self,)

    @property
    def row(self) -> RowFormat:
        """Return the format of the stored rows now."""
        return self._ring.layout.row

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Return the shape of an observation as sampled now: `[S, C, H, W]` of frames, `[N, L]` of latents."""
        return self._ring.layout.observation_shape

    @property
    def device(self) -> torch.device:
        """Return where observations are that are sampled or read."""
        return self._ring.memory.device

    @property
    def holds_latents(self) -> bool:
        """Return whether the rows are latents."""
        return self._ring.holds_latents

    @property
    def clipped_share(self) -> float | None:
        """Return the share of the numbers stored as int8 that was outside its range; None where nothing is clipped."""
        return self._ring.layout.codec.clipped_share

    @property
    def size(self) -> int:
        """Return how many rows are stored, closing rows included."""
        return self._ring.size

    @property
    def capacity(self) -> int:
        """Return how many rows fit."""
        return self._ring.capacity

    @property
    def num_sampleable(self) -> int:
        """Return how many rows can be drawn."""
        return self.sampler.num_sampleable

    @property
    def num_steps(self) -> int:
        """Return how many steps are stored: rows that can be drawn, now or once their window is complete."""
        return self.sampler.num_sampleable + self._pending

    @property
    def num_bytes(self) -> int:
        """Return the bytes of the memory block, which the memory setting buys."""
        return self._ring.memory.num_bytes

    @property
    def index_bytes(self) -> int:
        """Return the bytes allocated beside the block: actions, rewards, episode ends, priorities."""
        return self._ring.steps.num_bytes + self.sampler.num_bytes

    @property
    def is_open(self) -> bool:
        """Return whether the newest row's episode goes on."""
        return self._pending > 0

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
                `[S, C, H, W]`, of which that one is stored and the one before it checked. Where an episode begins, the
                others are stored too, in rows never drawn, unless all are the newest: it stands for those not given.
                Once the replay holds latents, that observation's latents `[K, N, L]` float32, however they are stored.
            action, reward: the action taken, and the reward that followed.
            terminated: the step led to a true end.
            truncated: the step was the last before a time limit. Ignored if `terminated`.
            final_row: like `row`, of the observation after a truncated last step; read only then.

        Raises:
            ValueError: a row of the wrong shape or dtype, a truncated step without its final row, an action of another
                shape or none of a Discrete space, or a number that isn't finite in float32.
            SettingError: an observation isn't the last one shifted by a frame.
        """
        end = End.TERMINATED if terminated else End.TRUNCATED if truncated else End.GOING_ON
        if end is End.TRUNCATED and final_row is None:
            raise ValueError("a truncated step needs final_row, the observation after it")
        last = None if end is not End.TRUNCATED or final_row is None else self._ring.row_of(final_row)
        refuse_step(action, reward, self._action_format)
        self._ring.refuse_other_stacks(row, final_row if end is End.TRUNCATED else None)
        for frame in self._ring.preceding(row):
            self._write(frame, 0, 0.0, End.GOING_ON)
        self._write(row, action, reward, end)
        self._pending += 1
        self._complete(self._pending - self._n_step if end is End.GOING_ON else self._pending)
        if last is not None:
            self._write(last, action, 0.0, End.CLOSING)  # its action is never read

    def close(self, final_row: Tensor | NDArray[np.uint8], preceding: Tensor | NDArray[np.uint8] | None = None) -> None:
        """End the open episode after its last step, as a time limit would have; `final_row` as for `append`.

        Args:
            preceding: `[S - 1, C, H, W]`, the rest of the final observation's stack, where that isn't the newest
                observation shifted by one frame; only while frames are stored. These rows are never drawn.

        Raises:
            ValueError: no episode is open.
        """
        if not self.is_open:
            raise ValueError("no episode is open")
        last, before = self._ring.row_of(final_row), () if preceding is None else preceding
        self._ring.cut(End.JUMPED if len(before) > 0 else End.TRUNCATED)
        self._complete(self._pending)
        for row in before:
            self._write(row, 0, 0.0, End.GOING_ON)
        self._write(last, 0, 0.0, End.CLOSING)

    def clear(self) -> None:
        """Forget every row and the open episode; format, the range of int8 latents and random numbers stay."""
        self._ring.clear()
        self._pending = 0
        self.sampler.rearrange(np.empty(0, np.int64), self.capacity)

    def sample(self, batch_size: int, importance_exponent: float = 1.0) -> Batch:
        """Draw `batch_size`, B, n-step transitions with replacement.

        Args:
            importance_exponent: beta in weight = probability^-beta / its maximum over the batch. (The number
                of rows, by which Schaul et al. 2016 multiply the probability, cancels.)

        Raises:
            SettingError: no window is complete yet, or `batch_size` is below 1.
        """
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}: draw 1 or more")
        if self.num_sampleable == 0:
            raise SettingError(f"no stored row has a complete window of n_step {self._n_step}: start updates later")
        places, probability = self.draw(batch_size)
        weight = probability**-importance_exponent
        return self.batch(places, weight / weight.max())

    def draw(self, batch_size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw places `[B]` of rows; return the probability `[B]` of each with them."""
        return self.sampler.sample(batch_size, self._rng)

    def batch(self, places: NDArray[np.int64], weight: NDArray[np.float64]) -> Batch:
        """Return the transitions at `places` `[B]` with these weights `[B]`."""
        ring = self._ring
        reward, discount, following = ring.steps.fold(places, self._discounts, self._settings["stack"])
        now, after = ring.gather(np.stack([places, following]), self._rng)
        rewards, discounts, weights = ring.to_device(np.stack([reward, discount, weight], dtype=np.float32))
        return Batch(
            now=now,
            action=ring.to_device(ring.steps.action[places]),
            reward=rewards,
            next=after,
            discount=discounts,
            weight=weights,
            index=ring.ids(places),
        )

    def recent(self, count: int, *, span: int) -> NDArray[np.int64]:
        """Return the ids of up to `count` observations, evenly spaced over the newest `span` rows, oldest first."""
        return self._ring.recent(count, span=span)

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        """Return the observations `ids` `[B]`: frames `[B, S, C, H, W]` uint8, or latents `[B, K, N, L]` float32.

        Raises ValueError where one of them isn't stored with all of its stack.
        """
        return self._ring.read(self._ring.places_of_whole(ids))

    def update_priorities(self, index: NDArray[np.int64], priority: Tensor | NDArray[np.floating]) -> None:
        """Give the rows `index` `[B]` of a batch new priorities `[B]`; rows overwritten since are skipped.

        Raises:
            ValueError: a priority is negative or not finite.
        """
        values = torch.as_tensor(priority).detach().to("cpu", torch.float64).numpy()
        stored = index >= self._ring.count - self._ring.size
        self.sampler.update(self._ring.places(index[stored]), values[stored])

    def transcode(
        self, encode: Encode, latent: RowFormat, *, chunk_rows: int = 32, progress: Progress | None = None
    ) -> Transcoding:
        """Replace the stored frames by their latents, inside the same memory; the capacity grows.

        Order, ids, priorities, episode ends and the open episode survive. The oldest rows that have lost part
        of their stack, S - 1 at most, are dropped. If a latent row is larger than a frame row, nothing
        changes: a replay never shrinks.

        Args:
            encode: frames `[B, S, C, H, W]` uint8 on the memory's device to latents `[B, K, N, L]` float32.
            latent: `[K, N, L]`, and what they are stored as: float32, float16, bfloat16, or int8, whose range is first
                fitted to up to 1,024 of the stored observations, evenly spaced.
            chunk_rows: observations encoded at a time; few, so that the conversion needs no more memory than an update.
            progress: called after every chunk with the rows done and the rows in all.

        Raises:
            ValueError: the replay holds latents already, `latent` is of another dtype than those, or `encode` returned
                another shape or dtype, or numbers that aren't finite (the replay is then of no more use).
            SettingError: int8, but no observation is stored to fit its range to.
        """
        result, kept = transcode(self._ring, encode, latent, chunk_rows=chunk_rows, progress=progress)
        if result.converted:
            self.sampler.rearrange(kept, self.capacity)
        return result

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs. Tensors and arrays are views: write them out before going on.

        `memory` is the part of the block that is in use, `[size * row.num_bytes]` bytes in pieces; a piece whose name
        was in an earlier state of this run has the bytes that it had there.
        """
        return self._ring.state_dict() | {
            "settings": dict(self._settings),
            "pending": self._pending,
            "rng": self._rng.bit_generator.state,
            "sampler": as_tensors(self.sampler.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, in the phase it was saved in.

        Raises:
            SettingError: the state comes from a replay of another memory size, frame shape, stack or n-step.
        """
        refuse_other_settings(state["settings"], self._settings)
        self._ring.load_state_dict(state)
        self._pending = state["pending"]
        self._rng.bit_generator.state = state["rng"]
        self.sampler.load_state_dict(as_arrays(state["sampler"]), self.capacity)

    def _write(self, row: Tensor | NDArray[np.uint8], action: ArrayLike, reward: float, end: End) -> None:
        """Put one row at the write head, and stop drawing the rows whose stack it overwrites."""
        if lost := self._ring.write(row, action, reward, end):
            self.sampler.disable(lost)

    def _complete(self, num_rows: int) -> None:
        """Start drawing the oldest `num_rows` of the pending rows, if that is any."""
        if num_rows > 0:
            first = self._ring.count - self._pending
            self.sampler.enable([self._ring.places(row_id) for row_id in range(first, first + num_rows)])
            self._pending -= num_rows
