"""Checkpoints: what goes in comes out, big tensors aren't copied, no crash and no damage loses a run."""

import errno
import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file

from seer.errors import SettingError
from seer.replay import Piece
from seer.runs import checkpoints as checkpoint
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


def same(left: Any, right: Any) -> bool:
    """Equal in value, type, dtype, shape and order of keys; nan equals nan."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist()
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


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


def example_state(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    weights = torch.randn(3, 4, generator=generator)
    return {"number": number, "weights": weights, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}


def save_example(root: Path, step: int, **options: int) -> Path:
    parts = {
        "agent": example_state(step),
        "replay": {"bytes": torch.full((100,), step % 256, dtype=torch.uint8)},
    }
    return save_checkpoint(root, step, parts, **options)


def is_example(path: Path, step: int) -> bool:
    loaded = load_checkpoint(path)
    return set(loaded) == {"agent", "replay"} and same(loaded["agent"], example_state(step))


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


# Which checkpoint is kept, and which is the latest ---------------------------------------------------------


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        path = save_example(tmp_path, step)
        assert latest_checkpoint(tmp_path) == path
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "latest",
        "step-000000020",
        "step-000000030",
    ]
    assert is_example(tmp_path / "step-000000020", 20)


def test_steps_of_more_than_nine_digits_stay_in_order(tmp_path: Path) -> None:
    for step in (999_999_999, 1_000_000_000, 10_000_000_000):
        save_example(tmp_path, step)
    assert latest_checkpoint(tmp_path).name == "step-10000000000"
    assert (tmp_path / "step-1000000000").is_dir()


def test_a_run_taken_back_drops_its_former_future(tmp_path: Path) -> None:
    for step in (10, 20):
        save_example(tmp_path, step)
    save_example(tmp_path, 15)
    assert latest_checkpoint(tmp_path).name == "step-000000015"
    assert not (tmp_path / "step-000000020").exists()
    assert is_example(tmp_path / "step-000000010", 10)


def test_the_same_step_again_replaces(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 10, {"agent": {"number": 1}})
    path = save_checkpoint(tmp_path, 10, {"agent": {"number": 2}})
    assert load_checkpoint(path) == {"agent": {"number": 2}}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["latest", "step-000000010"]


@pytest.mark.parametrize("pointer", ["", "step-000000099", "../other/step-000000010", "\udcff\n", None])
def test_without_a_good_pointer_the_newest_is_the_latest(tmp_path: Path, pointer: str | None) -> None:
    root = tmp_path / "checkpoints"
    for folder in (root, tmp_path / "other"):
        save_example(folder, 10)
    save_example(root, 20)
    (root / "latest").unlink()
    if pointer is not None:
        (root / "latest").write_bytes(pointer.encode(errors="surrogateescape"))
    assert latest_checkpoint(root) == root / "step-000000020"


def test_no_checkpoint_at_all_is_one_line(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SettingError, match="holds no checkpoint") as caught:
            latest_checkpoint(root)
        assert "\n" not in str(caught.value)


def piece(name: str, content: int) -> Piece:
    return Piece(name, lambda: torch.full((1000,), content, dtype=torch.uint8))


def test_pieces_of_the_checkpoint_before_are_not_written_again(tmp_path: Path) -> None:
    def save(step: int, names: dict[str, int], before: Path | None) -> Path:
        memory = [piece(name, content) for name, content in names.items()]
        return save_checkpoint(tmp_path, step, {"replay": {"memory": memory}}, before=before)

    first = save(1, {"frames-0-5": 1, "frames-1-9": 2}, None)
    second = save(2, {"frames-0-5": 77, "frames-1-12": 3}, first)  # 77 is never read: the name says it is there
    shared, new = (second / f"piece-frames-{name}.safetensors" for name in ("0-5", "1-12"))
    assert shared.samefile(first / shared.name)
    assert not (first / new.name).exists()
    loaded = load_checkpoint(second)["replay"]["memory"]
    assert [(each.name, int(each.read()[0])) for each in loaded] == [("frames-0-5", 1), ("frames-1-12", 3)]
    shutil.rmtree(first)
    assert int(load_checkpoint(second)["replay"]["memory"][0].read()[-1]) == 1
    truncate(shared)  # what isn't as it was is written again, not taken over
    third = save(3, {"frames-0-5": 1}, second)
    assert int(load_checkpoint(third)["replay"]["memory"][0].read()[0]) == 1


def test_without_hard_links_pieces_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    first = save_checkpoint(tmp_path, 1, {"replay": {"memory": [piece("frames-0-5", 1)]}})
    second = save_checkpoint(tmp_path, 2, {"replay": {"memory": [piece("frames-0-5", 9)]}}, before=first)
    assert int(load_checkpoint(second)["replay"]["memory"][0].read()[0]) == 1


@pytest.mark.parametrize("name", ["../x-1", "frames", "frames-1/../../x", "Frames-1", "frames-1\n"])
def test_names_of_pieces_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="piece name"):
        save_checkpoint(tmp_path, 1, {"replay": {"memory": [piece(name, 1)]}})
    path = save_checkpoint(tmp_path, 1, {"replay": {"memory": [piece("frames-0-1", 1)]}})
    reseal(path, parts={"replay": {"memory": [{"$piece": name}]}})
    with pytest.raises(SettingError, match="doesn't fit its folder"):
        load_checkpoint(path)


# Crashes ---------------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """Nothing after it runs, no more than after SIGKILL."""


def cut_power_at(monkeypatch: pytest.MonkeyPatch, event: int) -> None:
    """Let the `event`-th call that changes the disk be the last thing that doesn't happen."""
    calls = itertools.count()

    def guard(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == event:
                if name == "rmtree":  # cut off half-way
                    next(args[0].glob("*.safetensors")).unlink()
                raise PowerCut
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, guarded)

    for owner, name in ((os, "fsync"), (shutil, "rmtree"), (checkpoint, "write_blocks")):
        guard(owner, name)
    for name in ("replace", "mkdir", "unlink"):
        guard(Path, name)


@pytest.mark.parametrize(("step", "keep"), [(30, 2), (30, 1), (20, 2), (20, 1), (15, 2)])
def test_a_crash_at_any_moment_leaves_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, keep: int
) -> None:
    for event in itertools.count():
        root = tmp_path / str(event)
        for earlier in (10, 20):
            save_example(root, earlier, keep=keep)
        with monkeypatch.context() as patch:
            cut_power_at(patch, event)
            try:
                save_example(root, step, keep=keep)
                finished = True
            except PowerCut:
                finished = False
        latest = latest_checkpoint(root)
        number = int(latest.name.rpartition("-")[2])
        assert number in ({step} if finished else {20, step})
        assert is_example(latest, number)
        for folder in checkpoint._complete_folders(root):  # what a damaged one would send its reader to
            load_checkpoint(folder)
        save_example(root, 40, keep=keep)
        assert is_example(latest_checkpoint(root), 40)
        assert len(list(root.iterdir())) <= keep + 1  # and the pointer: nothing half-done stays
        if finished:
            break
    assert event > 10


ENDLESS_SAVES = """
import itertools, sys, torch
from pathlib import Path
from seer.runs.checkpoints import save_checkpoint
for step in itertools.count(1):
    big = torch.full((1 << 20,), step % 256, dtype=torch.uint8)
    save_checkpoint(Path(sys.argv[1]), step, {"agent": {"number": step}, "replay": {"bytes": big}})
    print(step, flush=True)
"""


def test_a_killed_process_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS_SAVES, tmp_path], stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
        reported = 1 + len(writer.stdout.readlines())
    loaded = load_checkpoint(latest_checkpoint(tmp_path))
    number = loaded["agent"]["number"]
    assert number in (reported, reported + 1)
    assert (loaded["replay"]["bytes"] == number % 256).all()


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_example(tmp_path, 10)

    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_blocks", fail)
    with pytest.raises(SettingError, match=r"step-000000020 can't be written \(No space left on device\)"):
        save_example(tmp_path, 20)
    assert latest_checkpoint(tmp_path) == path
    assert is_example(path, 10)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["latest", path.name]


# Damage ----------------------------------------------------------------------------------------------------


def flip(position: float) -> Any:
    def change(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(position * (len(content) - 1))] ^= 1
        file.write_bytes(content)

    return change


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def link_elsewhere(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


DAMAGES = {
    **{f"flip {position}": flip(position) for position in (0, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1)},
    "truncate": truncate,
    "append": append,
    "empty": lambda file: file.write_bytes(b""),
    "delete": Path.unlink,
    "foreign JSON": lambda file: file.write_text('{"a": 1}'),
    "foreign list": lambda file: file.write_text("[" * 100_000),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["agent.safetensors", "replay.safetensors", "state.json"])
def test_damage_is_refused_with_file_and_remedy(tmp_path: Path, name: str, damage: str) -> None:
    save_example(tmp_path, 10)
    path = save_example(tmp_path, 20)
    DAMAGES[damage](path / name)
    with pytest.raises(SettingError, match="checkpoint") as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert f"delete {path} to go on from step-000000010" in message
    shutil.rmtree(path)
    assert is_example(latest_checkpoint(tmp_path), 10)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    path = save_example(tmp_path, 10)
    link_elsewhere(path / "agent.safetensors")
    with pytest.raises(SettingError, match=r"agent\.safetensors is missing; no other checkpoint is left"):
        load_checkpoint(path)


def test_only_whole_checkpoints_are_recommended(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save_example(tmp_path, step, keep=3)
    truncate(tmp_path / "step-000000020" / "agent.safetensors")
    truncate(tmp_path / "step-000000030" / "state.json")
    with pytest.raises(SettingError, match="to go on from step-000000010"):
        load_checkpoint(tmp_path / "step-000000030")
    truncate(tmp_path / "step-000000010" / "agent.safetensors")
    with pytest.raises(SettingError, match="start the run again with another --out"):
        load_checkpoint(tmp_path / "step-000000030")


def reseal(path: Path, **changes: Any) -> None:
    """Change a checkpoint's state file as someone who knows the format would."""
    content = json.loads((path / "state.json").read_text())["content"] | changes
    body = json.dumps(content)
    digest = hashlib.sha256(body.encode()).hexdigest()
    (path / "state.json").write_text(f'{{"sha256": "{digest}",\n"content": {body}}}\n')


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 1}, "has version 1, this seer reads version 2: use the seer that wrote it"),
        ({"format": "other"}, "is foreign: seer didn't write it"),
        ({"parts": {"../escape": {}}}, "is foreign: it names a part '../escape'"),
        ({"parts": {"missing": {}}}, "doesn't fit its folder"),
        ({"parts": {"agent": {"a": {"$tensor": "agent/none"}}}}, "doesn't fit its folder"),
        ({"parts": {"agent": {"a": {"$int": "zz"}}}}, "doesn't fit its folder"),
        ({"parts": [3]}, "doesn't fit its folder"),
        ({"files": {"agent.safetensors": {"size": 1}}}, "doesn't fit its folder"),
    ],
)
def test_a_state_file_made_by_others_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = save_example(tmp_path, 10)
    reseal(path)
    assert is_example(path, 10)
    reseal(path, **changes)
    with pytest.raises(SettingError) as caught:
        load_checkpoint(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(SettingError, match=r"is unfinished or none: it has no state\.json"):
            load_checkpoint(path)
