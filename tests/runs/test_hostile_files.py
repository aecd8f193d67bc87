"""Damaged and foreign files: each is named and refused in one line, at no cost, and nothing is overwritten."""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from seer import trainer
from seer.system_info import peak_resident_bytes
from seer.training import play
from tiny_run import forget_peak, seer, stop_in_step

FLAGS = (
    *("--env", "ALE/Pong-v5", "--steps", 400, "--freeze-at", 60, "--replay-capacity", 90, "--first-update", 30),
    *("--batch-size", 8, "--hidden-units", 8, "--n-step", 3, "--log-every", 10, "--checkpoint-every", 40),
    *("--eval-every", 400, "--eval-episodes", 1, "--snapshot-every", 30, "--threads", 1, "--device", "cpu"),
)
SPIKE = 300e6  # bytes: less than a few of the huge files' gigabytes, more than a run that is built anew
SECONDS = 60.0
Rng = np.random.Generator


class Accepted(BaseException):
    """The command got as far as training; nothing on the way there may take it for a failure."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Path:
    """A run stopped after its freeze and the same with another seed, with two checkpoints each; and a finished one."""
    root = tmp_path_factory.mktemp("runs")
    for name, seed in (("run", 0), ("other", 1)):
        arguments = ("train", *FLAGS, "--seed", seed, "--out", root / name)
        assert stop_in_step(90, *arguments, signal=signal.SIGTERM) == 130
    assert len(list((root / "run" / "checkpoints").glob("step-*"))) == 2
    (root / "finished").symlink_to(finished_run)
    return root


# Damages: of a file `path` of the run, by chance; `other` is the same file of the other run ------------------------


def flip(path: Path, other: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.unlink()  # or the piece that another checkpoint shares would be damaged with it
    path.write_bytes(content)


def cut(path: Path, other: Path, rng: Rng) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: rng.integers(len(content))])


def overwrite(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()
    path.write_bytes(rng.bytes(int(rng.integers(1, 5000))))


def grow(path: Path, other: Path, rng: Rng) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(rng.bytes(7) + content)


def inflate(path: Path, other: Path, rng: Rng) -> None:
    """Ten sparse gigabytes."""
    path.unlink()
    with path.open("wb") as file:
        file.truncate(10_000_000_000)


def claim(path: Path, other: Path, rng: Rng) -> None:
    """A safetensors file that says it has a tensor of a terabyte."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [250_000_000_000], "data_offsets": [0, 10**12]}}).encode()
    path.unlink()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def nest(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()
    path.write_text("[" * 200_000)


def swap(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()
    shutil.copyfile(other, path)


def become_folder(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()
    path.mkdir()


def become_pipe(path: Path, other: Path, rng: Rng) -> None:
    """Whoever opens it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def become_endless(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def empty(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()
    path.touch()


def lose(path: Path, other: Path, rng: Rng) -> None:
    path.unlink()


def mutate(path: Path, other: Path, rng: Rng) -> None:
    """Change values of a JSON file, and renew its seal if it has one, as someone would who knows the format."""
    text = path.read_text()
    lines = text.splitlines()
    if path.suffix == ".jsonl":
        lines[rng.integers(len(lines))] = json.dumps(changed(json.loads(lines[0]), rng))
        content = "\n".join(lines) + "\n"
    elif path.name == "state.json":
        body = json.dumps(changed(json.loads(text)["content"], rng))
        content = f'{{"sha256": "{hashlib.sha256(body.encode()).hexdigest()}",\n"content": {body}}}\n'
    else:
        content = json.dumps(changed(json.loads(text), rng))
    path.unlink()
    path.write_text(content)


STRANGE: list[Any] = [
    None, True, -1, 0, 10**9, 10**30, -0.5, 1e308, "", "x", "../../etc/passwd", [], {}, [[]], {"$tensor": "no"},
    {"$piece": "../x"}, {"$piece": "frames-1-1"}, {"$int": "ffffffffffffffffffff"}, {"$float": "nan"}, {"$odd": 1},
]  # fmt: skip


def changed(tree: Any, rng: Rng) -> Any:
    """One value somewhere in the tree is another."""
    if isinstance(tree, dict) and tree and rng.random() < 0.93:
        name = list(tree)[rng.integers(len(tree))]
        if rng.random() < 0.05:
            return {key: value for key, value in tree.items() if key != name}
        return tree | {name: changed(tree[name], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.93:
        index = int(rng.integers(len(tree)))
        return [*tree[:index], changed(tree[index], rng), *tree[index + 1 :]]
    return STRANGE[rng.integers(len(STRANGE))]


BROKEN = (flip, cut, overwrite, grow, inflate, nest, swap, become_folder, become_pipe, become_endless, empty, lose)
BINARY = (*BROKEN, claim)
UNREADABLE = (flip, cut, overwrite, grow, inflate, nest, swap, empty)  # without the file, the one before is the latest
LATEST = "checkpoints/step-000000090"
# Which damages of a file each command must refuse.
REFUSED: list[tuple[str, str, tuple[Callable[[Path, Path, Rng], None], ...]]] = [
    ("resume", "config.json", BROKEN),
    ("plot", "config.json", tuple(damage for damage in BROKEN if damage not in (flip, swap))),
    ("plot", "metrics.jsonl", tuple(damage for damage in BROKEN if damage not in (swap, empty))),
    ("plot", "summary.json", (overwrite, grow, inflate, nest)),
    ("resume", "metrics.jsonl", tuple(damage for damage in BROKEN if damage is not lose)),
    ("resume", f"{LATEST}/state.json", UNREADABLE),
    ("eval", f"{LATEST}/state.json", UNREADABLE),
    *(("resume", f"{LATEST}/{part}.safetensors", BINARY) for part in ("agent", "replay", "environment", "freezing")),
    ("eval", f"{LATEST}/agent.safetensors", BINARY),
    ("resume", f"{LATEST}/PIECE", BINARY),
    ("encoder", "snapshots/step-000000060.safetensors", tuple(damage for damage in BINARY if damage is not swap)),
    ("encoder", f"{LATEST}/agent.safetensors", BINARY),
]
# What may be taken as it is, if it still makes sense, but never with a traceback.
EITHER: list[tuple[str, str]] = [
    ("resume", f"{LATEST}/state.json"),
    ("eval", f"{LATEST}/state.json"),
    ("resume", "config.json"),
    ("plot", "config.json"),
    ("plot", "metrics.jsonl"),
    ("plot", "summary.json"),
]


def arguments_of(command: str, run: Path, file: Path) -> tuple[object, ...]:
    if command == "encoder":
        source = file if file.parent.name == "snapshots" else run
        return ("train", *FLAGS, "--freeze-at", 0, "--encoder-from", source, "--out", run.parent / "new")
    if command == "eval":
        return ("eval", run, "--episodes", 1)
    if command == "plot":
        return ("plot", run, "--out", run.parent / "curve.png")
    return (command, run)


def outline(folder: Path) -> dict[str, Any]:
    """Everything in a folder: names, sizes, links, and contents of small files."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        small = path.is_file() and not path.is_symlink() and status.st_size < 10**8
        found[str(path)] = (status.st_mode, status.st_size, hashlib.sha256(path.read_bytes()).digest() if small else "")
    return found


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def refused(command: str, name: str, damage: Callable[[Path, Path, Rng], None], seed: int, **how: Any) -> str | None:
    """The line with which a command refuses a damaged file; None if it was accepted, which it may be by `either`."""
    runs, folder, capsys = how["runs"], how["folder"], how["capsys"]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs / ("finished" if command == "plot" else "run"), folder / "run")
    if "PIECE" in name:
        name = name.replace("PIECE", next((folder / "run" / LATEST).glob("piece-*")).name)
    if damage is swap and same_bytes(folder / "run" / name, runs / "other" / name):
        return "not damaged: both runs have the same"
    damage(folder / "run" / name, runs / "other" / name, np.random.default_rng([seed, len(name)]))
    before, started = outline(folder), time.monotonic()

    def accept(*arguments: Any, **options: Any) -> Any:
        raise Accepted

    capsys.readouterr()
    with patch.object(trainer, "train", accept), patch.object(play, "build_evaluator", accept):
        try:
            code = seer(*arguments_of(command, folder / "run", folder / "run" / name))
        except Accepted:
            code = 0
    said = capsys.readouterr()
    assert time.monotonic() - started < SECONDS
    if code == 0:
        return None
    assert code == 2
    assert said.err.startswith("seer: error: ")
    (line,) = said.err.splitlines()
    after = outline(folder)
    assert {path: after.get(path) for path in before} == before
    return str(line)


def try_all(cases: list[tuple[Any, ...]], runs: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of (command, file, damage, seed, whether it may be accepted)."""
    peak, wrong = 0, []
    for number, (command, name, damage, seed, either) in enumerate(cases):
        line = refused(command, name, damage, seed, runs=runs, folder=folder, capsys=capsys)
        if line is None and not either:
            wrong.append((command, name, damage.__name__, seed))
        if number == 0:
            forget_peak()
            peak = peak_resident_bytes()
        if line and damage is flip and command == "resume" and name.startswith(LATEST):
            assert "to go on from step-000000080" in line  # the good one before it
    assert not wrong
    assert peak_resident_bytes() - peak < SPIKE


def test_damaged_files_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        (command, name, damages[index % len(damages)], index, False)
        for index, (command, name, damages) in enumerate(REFUSED)
    ]
    cases += [(command, name, mutate, seed, True) for seed, (command, name) in enumerate(EITHER)]
    try_all(cases, runs, tmp_path / "work", capsys)


@pytest.mark.torture
def test_three_hundred_damaged_files_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [(command, name, damage, 3, False) for command, name, damages in REFUSED for damage in damages]
    by_chance = (flip, cut, overwrite)
    cases += [
        (command, name, damage, seed, False)
        for command, name, damages in REFUSED
        for damage in by_chance
        if damage in damages
        for seed in (4, 5)
    ]
    cases += [(command, name, mutate, seed, True) for command, name in EITHER for seed in range(25)]
    assert len(cases) >= 300
    try_all(cases, runs, tmp_path / "work", capsys)
