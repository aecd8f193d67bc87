"""The replay beside its slow twin through long random lives: append, end, truncate, sample, convert, save, load."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seer.replay import Prioritized, Uniform
from seer.replay import state as pieces

from .oracle import FIRST_STACKS, FRAME, Encoder, Pair

EXPONENT, SMALLEST = 0.5, 1e-8
OPERATIONS = ("append", "end", "truncate", "sample", "convert", "save")
OFTEN = (0.78, 0.04, 0.03, 0.12, 0.002, 0.028)


class Life:
    """One replay and its twin, of random settings, from the first row to the last operation."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.stack, self.n_step = int(rng.integers(1, 6)), int(rng.integers(1, 21))
        self.prioritized = bool(rng.integers(2))
        self.capacity = self.n_step + self.stack + 1 + int(rng.integers(0, 60))
        self.spare = int(rng.integers(FRAME.num_bytes))
        self.pair = self.make()
        self.priorities: dict[int, float] = {}  # by row; those not in it entered with the largest so far
        self.entered: dict[int, float] = {}
        self.largest = 1.0
        self.files: dict[str, NDArray[np.uint8]] = {}  # pieces, as the checkpoints of a run share them
        self.counts = dict.fromkeys(OPERATIONS, 0)

    def make(self) -> Pair:
        sampler = Prioritized(EXPONENT) if self.prioritized else Uniform()
        return Pair(
            sampler=sampler,
            stack=self.stack,
            n_step=self.n_step,
            capacity=self.capacity,
            spare_bytes=self.spare,
        )

    def act(self) -> None:
        operation = str(self.rng.choice(OPERATIONS, p=OFTEN))
        self.counts[operation] += 1
        match operation:
            case "append":
                self.add("")
            case "end":
                self.add("terminated")
            case "truncate":
                self.add(str(self.rng.choice(["truncated", "jumped"])))
            case "sample":
                self.sample()
            case "convert":
                self.convert()
            case "save":
                self.save_and_load()

    def add(self, end: str) -> None:
        before = {row.number for row in self.pair.slow.sampleable()} if self.prioritized else set()
        self.pair.add(end, str(self.rng.choice(FIRST_STACKS)))
        if self.prioritized:
            for row in self.pair.slow.sampleable():
                if row.number not in before:
                    self.entered[row.number] = self.largest
        assert self.pair.fast.size == len(self.pair.slow.stored())

    def sample(self) -> None:
        rows = {row.number for row in self.pair.slow.sampleable()}
        assert self.pair.fast.num_sampleable == len(rows)
        if not rows:
            return
        batch = self.pair.fast.sample(8, importance_exponent=0.7)
        assert set(batch.index.tolist()) <= rows
        self.pair.check(batch)
        if self.prioritized:
            self.check_weights(rows, batch.index, batch.weight.numpy())
            new = self.rng.exponential(2.0, size=8) * (self.rng.random(8) < 0.9)
            self.pair.fast.update_priorities(batch.index, new)
            self.priorities |= dict(zip(batch.index.tolist(), new.tolist(), strict=True))  # of one twice, the last
            self.largest = max(self.largest, *np.maximum(new, SMALLEST).tolist())

    def weight(self, row: int) -> float:
        return float(max(self.priorities.get(row, self.entered.get(row, 1.0)), SMALLEST) ** EXPONENT)

    def check_weights(self, rows: set[int], index: NDArray[np.int64], found: NDArray[np.float32]) -> None:
        """Importance weights, and every stored priority, are those of the rows' ids."""
        total = sum(map(self.weight, rows))
        expected = np.array([(self.weight(row) / total) ** -0.7 for row in index.tolist()])
        np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-5)
        state = self.pair.fast.state_dict()
        stored = state["sampler"]["weights"].numpy()
        assert np.count_nonzero(stored) == len(rows)
        for row in rows:
            place = (row - state["origin"]) % self.pair.fast.capacity
            assert stored[place] == pytest.approx(self.weight(row))

    def convert(self) -> None:
        if self.pair.encode is not None or not self.pair.slow.rows:
            return
        crops, encoders = int(self.rng.integers(1, 5)), int(self.rng.integers(1, 3))
        latent = int(self.rng.integers(1, max(2, FRAME.num_bytes // (4 * crops * encoders) + 1)))
        encode = Encoder(crops=crops, encoders=encoders, latent=latent, stack=self.stack)
        self.pair.transcode(encode, chunk_rows=int(self.rng.integers(1, 20)))
        self.save_and_load()  # the very next row must give its piece another name
        self.add("")
        self.save_and_load()

    def save_and_load(self) -> None:
        """Into another replay, with the pieces that earlier saves have written; both agree, and the new one goes on."""
        state = copy.deepcopy(self.pair.fast.state_dict())
        for piece in state["memory"]:
            content = piece.read().numpy()
            assert np.array_equal(self.files.setdefault(piece.name, content), content), piece.name
        other = self.make()
        other.fast.load_state_dict(state)
        assert_same_state(other.fast.state_dict(), state)
        self.pair.fast, self.pair.memory = other.fast, other.memory


def assert_same_state(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same_state(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same_state(left, right)
    elif isinstance(one, pieces.Piece):
        assert one.name == other.name
        assert np.array_equal(one.read().numpy(), other.read().numpy())
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    else:
        assert one == other


def live(lives: range, operations: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 5 * FRAME.num_bytes)  # so that a small replay has several
    done = dict.fromkeys(OPERATIONS, 0)
    modes = set()
    for seed in lives:
        life = Life(np.random.default_rng([7, seed]))
        for _ in range(operations):
            life.act()
        done = {name: done[name] + life.counts[name] for name in OPERATIONS}
        modes.add((life.prioritized, life.pair.encode is not None))
        assert len(life.pair.slow.rows) > 3 * life.capacity  # it has wrapped, as frames or as latents
    assert len(modes) == 4  # uniform and prioritised, frames to the end and latents
    return done


def test_a_thousand_operations_agree_with_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    done = live(range(12), 350, monkeypatch)
    assert all(done.values())


@pytest.mark.torture
def test_a_hundred_thousand_operations_agree_with_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    done = live(range(100, 200), 1000, monkeypatch)
    assert sum(done.values()) == 100_000
    print(done)
