import pickle  # noqa: TID251  # a replay may go to another process

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seer.errors import SettingError
from seer.replay import MemoryBlock, RowFormat
from seer.replay import memory as memory_module


def test_a_row_has_the_bytes_of_its_elements() -> None:
    assert RowFormat((1, 84, 84), torch.uint8).num_bytes == 7056
    assert RowFormat((4, 2, 50), torch.float32).num_bytes == 1600
    assert RowFormat((), torch.int64).num_bytes == 8


def test_rows_of_any_format_share_the_bytes() -> None:
    memory = MemoryBlock(50)
    frames, latents = memory.rows(RowFormat((2, 3), torch.uint8)), memory.rows(RowFormat((3,), torch.float32))
    assert frames.shape == (8, 2, 3)
    assert latents.shape == (4, 3)
    latents[1] = torch.tensor([1.5, -2.0, 3.25])
    assert frames[2:4].flatten().numpy().view(np.float32).tolist() == [1.5, -2.0, 3.25]
    assert frames.data_ptr() == latents.data_ptr() == memory.bytes.data_ptr()


@given(num_rows=st.integers(1, 40), shift=st.integers(0, 45), piece_rows=st.integers(1, 8), data=st.data())
def test_rotate_is_torch_roll_in_place(num_rows: int, shift: int, piece_rows: int, data: st.DataObject) -> None:
    row = RowFormat((2, 3), torch.uint8)
    spare = data.draw(st.integers(0, row.num_bytes - 1))
    memory = MemoryBlock(num_rows * row.num_bytes + spare)
    memory.bytes[:] = torch.arange(memory.num_bytes) % 256
    address, before = memory.bytes.data_ptr(), memory.bytes.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_SWAP_BYTES", piece_rows * row.num_bytes)
        memory.rotate(row, shift)
    used = num_rows * row.num_bytes
    assert torch.equal(memory.rows(row), before[:used].view(num_rows, 2, 3).roll(-shift, 0))
    assert torch.equal(memory.bytes[used:], before[used:])
    assert memory.bytes.data_ptr() == address


def test_memory_must_be_positive() -> None:
    with pytest.raises(SettingError, match="replay memory is 0 bytes"):
        MemoryBlock(0)


def test_a_pickled_block_has_its_bytes_once() -> None:
    row, memory = RowFormat((3,), torch.uint8), MemoryBlock(12)
    memory.write_rows(row, 0, torch.zeros(4, 3, dtype=torch.uint8))
    other = pickle.loads(pickle.dumps(memory))
    other.write_rows(row, 1, torch.tensor([[1, 2, 3]], dtype=torch.uint8))
    for read in (other.take(row, torch.tensor([1]))[0], other.read(3, 6), other.rows(row)[1]):
        assert read.tolist() == [1, 2, 3]
    assert memory.read(0, 12).sum() == 0
