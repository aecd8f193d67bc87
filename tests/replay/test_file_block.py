"""A block in a file against one in memory: the same bytes, the same replay; and disks that are none, full or gone."""

import copy
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seer.core.rows import LATENT_DTYPES
from seer.errors import RunError, SettingError
from seer.replay import Block, FileBlock, MemoryBlock, MultiEnvReplay, Prioritized, Replay, RowFormat
from seer.replay import memory as memory_module
from seer.replay.make import make_replay
from seer.system_info import resident_bytes

from .oracle import EPISODES, FRAME, SCALAR_ACTION, Encoder, assert_same_batch, paint


@contextmanager
def longest_file(num_bytes: int) -> Iterator[None]:
    """Inside, this process can't write to a file beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row_bytes=st.sampled_from([4, 12, 20]), spare=st.integers(0, 3), data=st.data())
def test_a_file_holds_what_memory_holds(disk: Path, row_bytes: int, spare: int, data: st.DataObject) -> None:
    num_rows = data.draw(st.integers(1, 30))
    blocks: list[Block] = [kind(num_rows * row_bytes + spare, *at) for kind, at in kinds(disk)]
    for block in blocks:
        block.write(0, (torch.arange(block.num_bytes) % 251).to(torch.uint8))
    row = RowFormat((row_bytes // 4,), torch.float32)
    for number in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, num_rows - 1))
        rows = torch.full((data.draw(st.integers(1, num_rows - start)), *row.shape), float(number))
        shift, piece = data.draw(st.integers(0, 35)), data.draw(st.integers(1, 5))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory_module, "_SWAP_BYTES", piece * row_bytes)
            for block in blocks:
                block.write_rows(row, start, rows)
                block.rotate(row, shift)
    places = torch.tensor(data.draw(st.lists(st.integers(0, num_rows - 1), max_size=12)), dtype=torch.int64)
    one, other = (
        [block.read(0, block.num_bytes), block.take(row, places), block.read_rows(row, 1, num_rows)] for block in blocks
    )
    for left, right in zip(one, other, strict=True):
        assert left.shape == right.shape
        assert torch.equal(left.flatten().view(torch.uint8), right.flatten().view(torch.uint8))


def kinds(folder: Path) -> list[tuple[Any, tuple[Any, ...]]]:
    return [(MemoryBlock, ()), (FileBlock, (folder,))]


def replays(kind: Any, at: tuple[Any, ...], num_envs: int) -> Replay | MultiEnvReplay:
    made = [
        Replay(
            memory=kind(40 * FRAME.num_bytes + 7, *at), frame=FRAME, stack=3, action=SCALAR_ACTION, n_step=3,
            discount=0.9, sampler=Prioritized(), rng=np.random.default_rng(number), number=number,
        )
        for number in range(num_envs)
    ]  # fmt: skip
    return made[0] if num_envs == 1 else MultiEnvReplay(made, np.random.default_rng(9))


def play(replay: Replay | MultiEnvReplay, ends: list[str], encode: Encoder | None = None) -> None:
    for number, end in enumerate(ends):
        for env, each in enumerate(replay.replays):
            frame = paint(number * len(replay.replays) + env)
            row: Any = frame if encode is None else encode(torch.from_numpy(np.stack([frame] * 3))[None])[0]
            last = {"terminated": end == "terminated", "truncated": end == "truncated", "final_row": row}
            each.append(row, number % 5, float(number % 7), **last)


@pytest.mark.filterwarnings("ignore:latents beyond 65,504")
@pytest.mark.parametrize(("dtype", "num_envs"), [*((dtype, 1) for dtype in LATENT_DTYPES), ("int8", 3)])
def test_a_replay_in_a_file_gives_what_one_in_memory_gives(disk: Path, dtype: str, num_envs: int) -> None:
    """Wrapped rings, before and after the conversion in place; each loads the state of the other."""
    encode = Encoder(crops=3, encoders=2, latent=3, stack=3)
    latent = RowFormat(encode.latent.shape, LATENT_DTYPES[dtype])
    pair = [replays(*each, num_envs) for each in kinds(disk)]

    def agree() -> None:
        for _ in range(3):
            one, other = (replay.sample(16) for replay in pair)
            assert_same_batch(one, other)
            for replay in pair:
                replay.update_priorities(one.index, np.linspace(0.1, 3, 16))
        shown = [replay.read(replay.recent(9, span=30)) for replay in pair]
        assert torch.equal(*shown)

    for replay in pair:
        play(replay, EPISODES[:77])
    agree()
    swapped = [copy.deepcopy(replay.state_dict()) for replay in reversed(pair)]
    for replay, state in zip(pair, swapped, strict=True):
        replay.load_state_dict(state)
    agree()
    outcomes = [replay.transcode(encode, latent, chunk_rows=7) for replay in pair]
    assert outcomes[0] == outcomes[1]
    assert outcomes[1].converted
    agree()
    for replay in pair:
        play(replay, EPISODES * 2, encode)
    assert pair[1].size == pair[1].capacity  # wrapped again
    agree()
    swapped = [copy.deepcopy(replay.state_dict()) for replay in reversed(pair)]
    pair = [replays(*each, num_envs) for each in kinds(disk)]
    for replay, state in zip(pair, swapped, strict=True):
        replay.load_state_dict(state)
    agree()


def test_nothing_is_seen_in_the_folder_and_two_replays_are_two(disk: Path) -> None:
    (disk / "seer-replay-").write_text("mine")
    one, other = (FileBlock(100, disk) for _ in range(2))
    one.write(0, torch.ones(100, dtype=torch.uint8))
    other.write(0, torch.zeros(100, dtype=torch.uint8))
    assert one.read(0, 100).sum() == 100
    assert [each.name for each in disk.iterdir()] == ["seer-replay-"]
    assert (disk / "seer-replay-").read_text() == "mine"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_its_bytes_are_reserved_and_given_back(disk: Path) -> None:
    block = FileBlock(1 << 20, disk)
    file = os.dup(block._file)
    try:
        assert os.fstat(file).st_blocks * 512 >= 1 << 20
        assert os.fstat(file).st_nlink == 0  # whoever has it open holds all there is of it
        open_before = sum(1 for _ in Path("/proc/self/fd").iterdir())
        del block
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == open_before - 1
    finally:
        os.close(file)


def test_what_it_holds_is_not_resident(disk: Path) -> None:
    row = RowFormat((30_000,), torch.uint8)
    block = FileBlock(4000 * 30_000, disk)
    before = resident_bytes()
    for start in range(0, 4000, 100):
        block.write_rows(row, start, torch.full((100, 30_000), start % 251, dtype=torch.uint8))
    rng = np.random.default_rng(0)
    for _ in range(40):
        places = torch.from_numpy(rng.integers(0, 4000, 100))
        assert torch.equal(block.take(row, places)[:, 17], (places // 100 * 100 % 251).to(torch.uint8))
    assert resident_bytes() - before < 40_000_000  # of 120 MB


@pytest.mark.parametrize(
    ("folder", "num_bytes", "words"),
    [
        ("missing", 100, "path .*/missing is no folder: make it first"),
        ("file", 100, "path .*/file is no folder"),
        (".", 10**17, r"path .*: the replay takes 100000000.00 GB and \d+\.\d\d GB are free there; make room"),
        ("/dev/shm", 100, r"path /dev/shm lies in memory \(tmpfs\): choose a folder on a disk"),
        ("/proc", 0, "replay memory is 0 bytes"),
    ],
)
def test_a_place_that_is_none_is_refused(disk: Path, folder: str, num_bytes: int, words: str) -> None:
    (disk / "file").touch()
    if folder == "/dev/shm" and not Path(folder).is_dir():
        pytest.skip("no /dev/shm")
    with pytest.raises(SettingError, match=words):
        FileBlock(num_bytes, disk / folder)


def test_a_disk_that_has_no_room_says_so_at_the_start_or_later(disk: Path) -> None:
    content = torch.ones(2000, dtype=torch.uint8)
    with longest_file(1000), pytest.raises(SettingError, match=r"path .*: 0.00 GB for the replay can't be reserved"):
        FileBlock(2000, disk)
    block = FileBlock(2000, disk)
    with longest_file(1000), pytest.raises(RunError, match=r"path .*: the replay's file there can't be written \(File"):
        block.write(0, content)
    block.write(0, content)
    os.truncate(block._file, 1000)
    assert block.read(0, 1000).sum() == 1000
    with pytest.raises(RunError, match=r"can't be read \(it has become shorter\)"):
        block.read(900, 1100)


def test_make_replay_takes_a_folder(disk: Path) -> None:
    options: Any = {"num_bytes": 10**5, "frame_shape": (1, 12, 12), "action_space": gymnasium.spaces.Discrete(3)}
    one, other = make_replay(**options), make_replay(**options, path=str(disk))
    assert isinstance(other._ring.memory, FileBlock)
    for replay in (one, other):
        for number in range(900):  # 694 fit
            replay.append(np.full((1, 12, 12), number % 256, np.uint8), 1, 0.5, terminated=False)
    assert_same_batch(one.sample(64), other.sample(64))
    with pytest.raises(SettingError, match=r"path .*is no folder"):
        make_replay(**options, path=disk / "missing")


def test_a_replay_in_a_file_is_not_copied_to_write_over_the_first(disk: Path) -> None:
    replay = make_replay(num_bytes=400, frame_shape=(4,), action_space=gymnasium.spaces.Discrete(2), path=disk)
    with pytest.raises(SettingError, match="can't be copied or pickled: load its state_dict instead"):
        copy.deepcopy(replay)
