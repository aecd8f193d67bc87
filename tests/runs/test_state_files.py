"""State files: what goes in comes out, big tensors aren't copied, and what is sealed tells damage."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file

from saved_states import example_state, same
from seer.errors import SettingError
from seer.runs import state_files
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint

TORCH_DTYPES = [
    torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64,
]  # fmt: skip
NUMPY_DTYPES = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))]
NUMPY_DTYPES += ["float16", "float32", "float64"]


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test pulls the machine's plug, so none has to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(TORCH_DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.from_numpy(np.random.default_rng(draw(st.integers(0, 99))).integers(0, 100, size=shape))
    return (values > 50 if dtype == torch.bool else values).to(dtype)


ARRAYS = hnp.arrays(st.sampled_from(NUMPY_DTYPES), hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
NUMBERS = st.integers() | st.integers(-(2**200), 2**200) | st.floats()
LEAVES = st.none() | st.booleans() | NUMBERS | st.text() | tensors() | ARRAYS
STATES = st.dictionaries(
    st.text(),
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(st.text() | st.integers() | st.sampled_from(["$tensor", "a/b", "a"]), inner, max_size=3)
        ),
        max_leaves=12,
    ),
    max_size=4,
)


# Round trips -----------------------------------------------------------------------------------------------


@given(state=STATES)
@example(state={"a/b": torch.ones(1), "a": {"b": torch.zeros(1), 0: torch.ones(2), "0": torch.ones(3)}})
def test_any_state_comes_back_equal(state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "part.safetensors"
        tree, blocks, _ = state_files.take_apart(state, "part")
        state_files.write_blocks(file, blocks)
        through_json = json.loads(json.dumps(tree, allow_nan=False))
        assert same(state_files.put_together(through_json, file), state)


def test_a_training_state_comes_back_and_works(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    generators = [np.random.Generator(kind(7)) for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox)]
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generators": [generator.bit_generator.state for generator in generators],
        "torch": torch.get_rng_state(),
        "huge": -(3**50_000),
        "read-only": np.frombuffer(b"abc", dtype=np.uint8),
        "reversed": np.arange(5)[::-1],
    }
    loaded = load_checkpoint(save_checkpoint(tmp_path, 1, {"agent": state, "nothing": {}}))
    assert loaded["nothing"] == {}
    agent = loaded["agent"]
    network.load_state_dict(agent["network"])
    optimizer.load_state_dict(agent["optimizer"])
    assert same(agent["optimizer"], optimizer.state_dict())
    assert agent["huge"] == state["huge"]
    assert agent["read-only"].tobytes() == b"abc"
    assert agent["reversed"].tolist() == [4, 3, 2, 1, 0]
    for generator, saved in zip(generators, agent["generators"], strict=True):
        expected = generator.random(3)
        generator.bit_generator.state = saved
        assert np.array_equal(generator.random(3), expected)


def test_files_are_plain_safetensors_and_json(tmp_path: Path) -> None:
    state = {
        "odd": torch.ones(3, dtype=torch.uint8),
        "wide": torch.arange(4.0, dtype=torch.float64),
        "count": 3,
    }
    path = save_checkpoint(tmp_path, 10_000, {"agent": state})
    assert path == tmp_path / "step-000010000"
    assert sorted(file.name for file in path.iterdir()) == ["agent.safetensors", "state.json"]
    read = load_file(path / "agent.safetensors")
    assert set(read) == {"agent/odd", "agent/wide"}
    assert read["agent/wide"].tolist() == [0, 1, 2, 3]
    raw = (path / "agent.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    start, _ = json.loads(raw[8 : 8 + length])["agent/wide"]["data_offsets"]
    assert (8 + length + start) % 8 == 0  # aligned, so that it can be used where it is mapped
    content = json.loads((path / "state.json").read_text())["content"]
    assert (content["format"], content["version"], content["step"]) == ("seer-checkpoint", 2, 10_000)
    assert content["parts"]["agent"]["count"] == 3
    assert content["files"]["agent.safetensors"]["size"] == (path / "agent.safetensors").stat().st_size


def test_files_are_as_readable_as_others_of_their_owner(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = save_checkpoint(tmp_path, 1, {"agent": example_state(1)})
    assert (path / "agent.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_sealed_file_tells_what_was_changed(tmp_path: Path) -> None:
    """One as older versions wrote it too, whose header has spaces and its tensors in another order."""
    ours, older = tmp_path / "ours", tmp_path / "older"
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2)}
    state_files.write_blocks(ours, tensors, sealed=True)
    data = b"".join(tensor.numpy().tobytes() for tensor in tensors.values())
    entries = {"b": ([3], [0, 12]), "a": ([2, 2], [12, 28])}
    header = {name: {"dtype": "F32", "shape": s, "data_offsets": o} for name, (s, o) in entries.items()}

    def padded(content: dict[str, Any]) -> bytes:
        text = json.dumps(content).encode()
        return text + b" " * (-len(text) % 8)

    seal = hashlib.sha256(padded(header) + data).hexdigest()
    text = padded({"__metadata__": {"sha256": seal}} | header)
    older.write_bytes(len(text).to_bytes(8, "little") + text + data)
    for file in (ours, older):
        state_files.check_seal(file)
        assert same(dict(sorted(load_file(file).items())), dict(sorted(tensors.items())))
        content = file.read_bytes()
        for place in (content.index(b'"a"') + 1, content.index(b"F32") + 1, content.index(b"sha256") + 12, -1):
            damaged = bytearray(content)
            damaged[place] ^= 1
            file.write_bytes(damaged)
            with pytest.raises(ValueError, match="sha256"):
                state_files.check_seal(file)
    state_files.write_blocks(ours, tensors)
    with pytest.raises(ValueError, match="sha256"):
        state_files.check_seal(ours)


def test_writing_to_a_loaded_tensor_changes_no_file(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"replay": {"bytes": torch.zeros(20 << 20, dtype=torch.uint8)}})
    load_checkpoint(path)["replay"]["bytes"].fill_(1)
    assert not load_checkpoint(path)["replay"]["bytes"].any()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": {"b": object()}}, "'part/a/b' is of type object"),
        ({"a": [1, {2}]}, "'part/a/1' is of type set"),
        ({"a": np.int64(3)}, "'part/a' is of type int64"),
        ({"a": {1.5: 0}}, "'part/a' has a key of type float"),
        ({"a": {True: 0}}, "'part/a' has a key of type bool"),
        ({"a": np.array(["x"])}, "'part/a' has dtype <U1"),
        ({"a": np.ones(2, dtype=">f4")}, "'part/a' has dtype >f4"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "'part/a' is torch.complex64"),
        ({"a": torch.eye(2).to_sparse()}, "'part/a' is torch.float32, torch.sparse_coo"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(tmp_path: Path, state: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match="part/a") as caught:
        save_checkpoint(tmp_path, 1, {"part": state})
    assert words in str(caught.value)
    with pytest.raises(SettingError, match="no checkpoint"):
        latest_checkpoint(tmp_path)


def test_part_names_stay_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="part name"):
        save_checkpoint(tmp_path / "checkpoints", 1, {"../agent": {}})


MEMORY_PROBE = """
import os, resource, sys, torch
from pathlib import Path
os.fsync = lambda descriptor: None
from seer.runs.checkpoints import load_checkpoint, save_checkpoint
def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
arena = torch.ones(400 << 20, dtype=torch.uint8)
load_checkpoint(save_checkpoint(Path(sys.argv[1]), 1, {"replay": {"bytes": arena[:1000]}}))
before = peak_megabytes()
path = save_checkpoint(Path(sys.argv[1]), 2, {"replay": {"bytes": arena}})
print(peak_megabytes() - before)
before = peak_megabytes()
loaded = load_checkpoint(path)["replay"]["bytes"]
print(peak_megabytes() - before)
assert loaded.shape == arena.shape and loaded[::4096].all()
"""


def test_a_big_tensor_is_never_copied_whole(tmp_path: Path) -> None:
    probe = subprocess.run([sys.executable, "-c", MEMORY_PROBE, tmp_path], capture_output=True, text=True, check=True)
    saving, loading = map(float, probe.stdout.split())
    assert saving < 50
    assert loading < 50
