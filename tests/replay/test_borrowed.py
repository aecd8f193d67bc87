"""Rows that a resumed replay reads from its checkpoint's files, as if they had been copied."""

import os
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seer.core.rows import RowFormat
from seer.errors import RunError
from seer.replay import FileBlock, MemoryBlock, Prioritized, Replay
from seer.replay import borrowed as borrowed_module
from seer.replay import memory as memory_module
from seer.replay import state as state_module
from seer.runs.checkpoints import load_checkpoint, save_checkpoint

from .oracle import EPISODES, FRAME, SCALAR_ACTION, Encoder, assert_same_batch, paint

ROW = RowFormat((4,), torch.uint8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_borrowed_reads_as_if_it_were_written(disk: Path, data: st.DataObject) -> None:
    num_rows = data.draw(st.integers(1, 20))
    plain, block = MemoryBlock(num_rows * 4), FileBlock(num_rows * 4, disk)
    for each in (plain, block):
        each.write(0, torch.zeros(num_rows * 4, dtype=torch.uint8))
    for number in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, num_rows - 1))
        rows = torch.full((data.draw(st.integers(1, num_rows - start)), 4), number + 1, dtype=torch.uint8)
        kind = data.draw(st.sampled_from(["borrow", "borrow", "write", "rotate"]))
        if kind == "rotate":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(memory_module, "_SWAP_BYTES", 12)
                for each in (plain, block):
                    each.rotate(ROW, start)
            continue
        plain.write_rows(ROW, start, rows)
        if kind == "write":
            block.write_rows(ROW, start, rows)
        else:
            other = disk / "other"
            other.write_bytes(b"a header of some length" + rows.numpy().tobytes())
            assert block.borrow(start * 4, (start + len(rows)) * 4, other)
            other.unlink()
    places = torch.tensor(data.draw(st.lists(st.integers(0, num_rows - 1), max_size=30)), dtype=torch.int64)
    assert torch.equal(plain.read(0, num_rows * 4), block.read(0, num_rows * 4))
    assert torch.equal(plain.take(ROW, places), block.take(ROW, places))


def filled(disk: Path) -> Replay:
    replay = new(disk)
    for number, end in enumerate(EPISODES):
        append(replay, number, end)
    return replay


def new(disk: Path) -> Replay:
    return Replay(
        memory=FileBlock(40 * FRAME.num_bytes + 7, disk), frame=FRAME, stack=3, action=SCALAR_ACTION, n_step=3,
        discount=0.9, sampler=Prioritized(), rng=np.random.default_rng(0),
    )  # fmt: skip


def append(replay: Replay, number: int, end: str) -> None:
    last = {"terminated": end == "terminated", "truncated": end == "truncated", "final_row": paint(number)}
    replay.append(paint(number), number % 5, float(number % 7), **last)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "PIECE_BYTES", 7 * FRAME.num_bytes)


def saved(replay: Replay, root: Path) -> Path:
    return save_checkpoint(root, 1, {"replay": replay.state_dict()})


def lent(replay: Replay) -> int:
    block = replay._ring.memory
    assert isinstance(block, FileBlock)
    return len(block._borrowed)


@pytest.mark.usefixtures("small_pieces")
def test_a_resumed_replay_copies_nothing_and_goes_on_alike(disk: Path) -> None:
    """Also once its checkpoint is gone, round the ring, through later checkpoints and the conversion."""
    replay, resumed = filled(disk), new(disk)
    checkpoint = saved(replay, disk / "first")
    before_it = own_bytes(resumed)
    resumed.load_state_dict(load_checkpoint(checkpoint)["replay"])
    assert lent(resumed) == 6
    assert own_bytes(resumed) == before_it
    before = checkpoint
    for number in range(60):
        assert_same_batch(replay.sample(8), resumed.sample(8))
        for each in (replay, resumed):
            append(each, number, EPISODES[number])
        if number in (3, 20):  # the second removes the folder that was resumed from
            before = save_checkpoint(
                disk / "first", number + 2, {"replay": resumed.state_dict()}, keep=1, before=before
            )
            again = new(disk)
            again.load_state_dict(load_checkpoint(before)["replay"])
            assert torch.equal(again.read(again.recent(30, span=40)), resumed.read(resumed.recent(30, span=40)))
    assert lent(resumed) == 0  # all is written over
    resumed = new(disk)
    resumed.load_state_dict(load_checkpoint(saved(replay, disk / "second"))["replay"])
    encode = Encoder(crops=3, encoders=2, latent=3, stack=3)
    latent = RowFormat(encode.latent.shape, torch.float32)
    assert lent(resumed) == 6
    assert resumed.transcode(encode, latent, chunk_rows=7) == replay.transcode(encode, latent, chunk_rows=7)
    for each in (replay, resumed):
        each._rng = np.random.default_rng(1)
    assert_same_batch(replay.sample(30), resumed.sample(30))


def own_bytes(replay: Replay) -> bytes:
    """Return what the replay's own file holds."""
    block = replay._ring.memory
    assert isinstance(block, FileBlock)
    return os.pread(block._file, block.num_bytes, 0)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("most", "borrowed"), [(4096, 6), (1027, 3), (512, 0)])
def test_more_than_the_files_that_may_be_open_is_copied(
    disk: Path, most: int, borrowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay, resumed = filled(disk), new(disk)
    state = load_checkpoint(saved(replay, disk / "first"))["replay"]
    monkeypatch.setattr(borrowed_module, "MOST_FILES", most)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    try:
        resumed.load_state_dict(state)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert lent(resumed) == borrowed
    assert_same_batch(replay.sample(30), resumed.sample(30))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, needs a second disk")
def test_files_are_closed_and_those_of_another_disk_are_copied(disk: Path, tmp_path: Path) -> None:
    def opened() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    replay, resumed = filled(disk), new(disk)
    before = opened()
    resumed.load_state_dict(load_checkpoint(saved(replay, disk / "first"))["replay"])
    assert opened() == before + 6
    resumed.load_state_dict(load_checkpoint(disk / "first" / "step-000000001")["replay"])
    assert opened() == before + 6
    del resumed
    assert opened() == before - 1
    elsewhere = Path("/dev/shm") / f"seer-{tmp_path.name}-{os.getpid()}"
    try:
        resumed = new(disk)
        resumed.load_state_dict(load_checkpoint(saved(replay, elsewhere))["replay"])
        assert lent(resumed) == 0
        assert_same_batch(replay.sample(30), resumed.sample(30))
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


@pytest.mark.usefixtures("small_pieces")
def test_a_checkpoint_that_is_cut_short_meanwhile_is_said(disk: Path) -> None:
    replay, resumed = filled(disk), new(disk)
    checkpoint = saved(replay, disk / "first")
    resumed.load_state_dict(load_checkpoint(checkpoint)["replay"])
    for file in checkpoint.glob("piece-*"):
        os.truncate(file, 10)
    with pytest.raises(RunError, match="the replay's file there can't be read"):
        resumed.sample(30)
