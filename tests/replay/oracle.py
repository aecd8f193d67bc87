"""A slow and obvious twin of the replay: every row there ever was, in episodes kept as Python lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from seer.replay import Batch, MemoryBlock, Prioritized, Replay, RowFormat, Sampler, Uniform

FRAME = RowFormat((2, 5, 8), torch.uint8)  # 80 bytes
SCALAR_ACTION = RowFormat((), torch.int64)


def paint(number: int) -> NDArray[np.uint8]:
    """A frame whose pixels spell its number over and over."""
    pixels = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
    return np.resize(pixels, FRAME.shape)


def read(frames: Tensor) -> NDArray[np.int64]:
    """The numbers painted into frames `[..., C, H, W]`; fails on a frame that mixes two numbers."""
    copies = frames.reshape(*frames.shape[:-3], -1, 4).numpy().astype(np.int64)
    assert (copies == copies[..., :1, :]).all()
    return np.asarray(copies[..., 0, :] @ np.array([1, 256, 256**2, 256**3]), np.int64)


@dataclass
class Row:
    number: int  # the row's id, painted into its frame unless `painted` says otherwise
    episode: "list[Row]"
    index: int  # in its episode
    action: int
    reward: float
    end: str = ""  # "", "terminated", "truncated" or "jumped"; "preceding" or "closing" are no steps
    after: "Row | None" = None  # of a step that jumped, the row whose stack is its next observation
    painted: int = -1  # the number in its frame, where that isn't its id

    @property
    def shown(self) -> int:
        return self.number if self.painted < 0 else self.painted


class SlowReplay:
    """Answers by looking through Python lists what may be sampled, and what it is."""

    def __init__(self, *, capacity: int, stack: int, n_step: int, discount: float) -> None:
        self.capacity, self.stack, self.n_step, self.discount = capacity, stack, n_step, discount
        self.rows: list[Row] = []
        self.episode: list[Row] = []
        self.dropped_before = 0
        self.latents = False

    def add(self, action: int, reward: float, end: str = "") -> None:
        row = Row(len(self.rows), self.episode, len(self.episode), action, reward, end)
        self.rows.append(row)
        self.episode.append(row)
        if end == "truncated":
            self.add(0, 0.0, "closing")
        elif end == "jumped":
            self.episode = []
            for _ in range(self.stack - 1):
                self.add_quietly("preceding")
            row.after = self.add_quietly("closing")
            self.episode = []
        elif end:
            self.episode = []

    def begin(self, kind: str) -> None:
        """An episode's first stack, before its first step: S - 1 frames, unless they are that step's own repeated."""
        newest = len(self.rows) + self.stack - 1  # its first step's number
        frames = {
            "repeat": [newest] * (self.stack - 1),
            "black": [0] * (self.stack - 1),
            "others": [newest + 1000 + k for k in range(self.stack - 1)],
            "late": [newest + 1000, *[newest] * (self.stack - 2)][: self.stack - 1],
        }[kind]
        for number in frames if kind != "repeat" else []:
            self.add_quietly("preceding", number)

    def add_quietly(self, end: str, painted: int = -1) -> Row:
        row = Row(len(self.rows), self.episode, len(self.episode), 0, 0.0, end, painted=painted)
        self.rows.append(row)
        self.episode.append(row)
        return row

    def stored(self) -> list[Row]:
        return self.rows[max(self.dropped_before, len(self.rows) - self.capacity) :]

    def stack_of(self, row: Row) -> list[Row]:
        """The rows of its frames; before its episode, the first one's."""
        return [row.episode[max(0, row.index - k)] for k in reversed(range(self.stack))]

    def complete(self) -> list[Row]:
        """Stored rows whose stack is stored too."""
        stored = self.stored()
        return [row for row in stored if self.latents or self.is_whole(row, stored[0])]

    def is_whole(self, row: Row, oldest: Row) -> bool:
        return all(each.number >= oldest.number for each in self.stack_of(row))

    def window(self, row: Row) -> list[Row] | None:
        """The steps that are folded into one, or None while they aren't known."""
        window = row.episode[row.index : row.index + self.n_step]
        for length, step in enumerate(window, 1):
            if step.end in ("terminated", "truncated", "jumped"):
                return window[:length]
        return window if len(row.episode) > row.index + self.n_step else None

    def sampleable(self) -> list[Row]:
        steps = [row for row in self.complete() if row.end not in ("closing", "preceding")]
        return [row for row in steps if self.window(row) is not None]

    def transition(self, row: Row) -> tuple[float, float, Row | None]:
        """Reward, discount and the row of the next observation, None after a true end."""
        window = self.window(row)
        assert window
        reward = 0.0
        for k, step in enumerate(window):
            reward += self.discount**k * step.reward
        if window[-1].end == "terminated":
            return reward, 0.0, None
        after = window[-1].after or row.episode[row.index + len(window)]
        return reward, self.discount ** len(window), after

    def transcode(self, capacity: int) -> None:
        self.dropped_before = self.complete()[0].number
        self.latents = True
        self.capacity = capacity


class Everything:
    """A sampler that draws every sampleable place once, in order: what it returns is the whole set."""

    def __init__(self) -> None:
        self.places: set[int] = set()
        self.num_bytes = 0

    @property
    def num_sampleable(self) -> int:
        return len(self.places)

    def rearrange(self, sources: NDArray[np.int64], capacity: int) -> None:
        self.places = {new for new, old in enumerate(sources.tolist()) if old in self.places}

    def enable(self, places: Sequence[int]) -> None:
        assert self.places.isdisjoint(places)
        self.places.update(places)

    def disable(self, places: Sequence[int]) -> None:
        self.places.difference_update(places)

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return np.array(sorted(self.places)), np.full(len(self.places), 1 / len(self.places))


class Pair:
    """A replay and its slow twin, fed the same steps: frame i is painted with i, action and reward follow."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        stack: int = 3,
        n_step: int = 3,
        capacity: int = 40,
        spare_bytes: int = 0,
        number: int | None = None,
    ) -> None:
        self.memory = MemoryBlock(capacity * FRAME.num_bytes + spare_bytes)
        self.memory.bytes.fill_(255)  # what was never written must not look like a frame or an end
        self.fast = Replay(
            memory=self.memory,
            frame=FRAME,
            stack=stack,
            action=SCALAR_ACTION,
            n_step=n_step,
            discount=0.9,
            sampler=sampler,
            rng=np.random.default_rng(number or 0),
            number=number,
        )
        self.slow = SlowReplay(capacity=capacity, stack=stack, n_step=n_step, discount=0.9)
        self.encode: Encoder | None = None
        self.encoded: dict[int, Tensor] = {}  # latents of rows asked for before
        self.agree = torch.equal  # what is read of latents, and those

    def add(self, end: str = "", begin: str = "repeat") -> None:
        """`begin` is the kind of first stack that is given where this step begins an episode."""
        if end == "jumped" and self.encode is not None:
            end = "truncated"  # latents have no stacks
        begins = not self.slow.episode and self.encode is None
        if begins:
            self.slow.begin(begin)
        number = len(self.slow.rows)
        action, reward = number * 7 % 11, float(number * 5 % 13 - 6)
        self.slow.add(action, reward, end)
        row = self.observation(self.slow.rows[number], whole=begins and begin != "repeat")
        final = self.observation(self.slow.rows[number + 1]) if end == "truncated" else None
        self.fast.append(
            row, action, reward, terminated=end == "terminated", truncated=end == "truncated", final_row=final
        )
        if end == "jumped":
            *preceding, final = [paint(row.number) for row in self.slow.rows[number + 1 :]]
            self.fast.close(final, np.array(preceding))

    def add_all(self, ends: Sequence[str], *, begins: Sequence[str] = ("repeat",)) -> None:
        for step, end in enumerate(ends):
            self.add(end, begins[step % len(begins)])

    def observation(self, row: Row, *, whole: bool = False) -> Tensor | NDArray[np.uint8]:
        """What is appended for a row: its frame, for every second one its whole stack, or the latents of that."""
        if self.encode is not None:
            return self.latents(row)
        return self.stacked(row) if whole or row.number % 2 else paint(row.number)

    def stacked(self, row: Row) -> NDArray[np.uint8]:
        return np.stack([paint(each.shown) for each in self.slow.stack_of(row)])

    def latents(self, row: Row) -> Tensor:
        assert self.encode is not None
        if row.number not in self.encoded:
            self.encoded[row.number] = self.encode(torch.from_numpy(self.stacked(row))[None])[0]
        return self.encoded[row.number]

    def transcode(self, encode: "Encoder", **options: Any) -> Any:
        self.encode = encode
        result = self.fast.transcode(encode, encode.latent, **options)
        if result.converted:
            self.slow.transcode(self.memory.num_bytes // encode.latent.num_bytes)
        else:
            self.encode = None
        return result

    def check_set(self, *, drawn: bool = True) -> None:
        """Stored and sampleable rows are as many as in the twin; `drawn`, they are the same, and so is each of them."""
        expected = [row.number for row in self.slow.sampleable()]
        assert self.fast.size == len(self.slow.stored())
        assert self.fast.num_sampleable == len(expected)
        if expected and drawn:
            batch = self.fast.sample(1)  # `Everything` gives all there are
            assert sorted(batch.index.tolist()) == expected
            self.check(batch)

    def check(self, batch: Batch) -> None:
        """Every transition of the batch is what the loops say."""
        for b, number in enumerate(batch.index.tolist()):
            row = self.slow.rows[number]
            reward, discount, following = self.slow.transition(row)
            assert batch.action[b] == row.action
            np.testing.assert_allclose(batch.reward[b], reward, rtol=1e-6, atol=1e-5)
            np.testing.assert_allclose(batch.discount[b], discount, rtol=1e-6)
            self.check_observation(batch.now[b], row)
            if following is not None:
                self.check_observation(batch.next[b], following)

    def check_observation(self, observation: Tensor, row: Row) -> None:
        if self.encode is None:
            assert read(observation).tolist() == [each.shown for each in self.slow.stack_of(row)]
        else:
            assert any(self.agree(observation, crop) for crop in self.latents(row))


class Encoder:
    """Whole weights on all pixels: latents are exact in float32 and differ by stack, crop and encoder."""

    def __init__(self, *, crops: int, encoders: int, latent: int, stack: int) -> None:
        self.latent = RowFormat((crops, encoders, latent), torch.float32)
        num_pixels = stack * FRAME.num_bytes
        rng = np.random.default_rng(1)
        weight = rng.integers(1, 9, size=(num_pixels, crops * encoders * latent)).astype(np.float64)
        self.weight = torch.from_numpy(weight)
        self.largest_batch = 0

    def __call__(self, frames: Tensor) -> Tensor:
        assert frames.dtype == torch.uint8
        self.largest_batch = max(self.largest_batch, len(frames))
        return ((frames.flatten(1).double() + 1) @ self.weight).float().view(-1, *self.latent.shape)


ENDS = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from(["terminated", "truncated", "jumped"])), min_size=1, max_size=8
).map(lambda episodes: [end for length, last in episodes for end in [""] * (length - 1) + [last]])

EPISODES = ["", "", "", "", "terminated", "", "", "truncated", "", "", "", "", "", "", "terminated"] * 8
SAMPLERS = pytest.mark.parametrize("make", [Uniform, Prioritized])


FIRST_STACKS = ["repeat", "black", "others", "late"]  # "late" has only its oldest frame from before


def small_replay(n_step: int = 3, capacity: int = 20, action: RowFormat = SCALAR_ACTION) -> Replay:
    return Replay(
        memory=MemoryBlock(capacity * FRAME.num_bytes),
        frame=FRAME,
        stack=2,
        action=action,
        n_step=n_step,
        discount=0.5,
        sampler=Everything(),
        rng=np.random.default_rng(0),
    )


def assert_same_batch(one: Batch, other: Batch) -> None:
    assert np.array_equal(one.index, other.index)
    for name in ("now", "action", "reward", "next", "discount", "weight"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
