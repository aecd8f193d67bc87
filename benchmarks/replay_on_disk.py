"""A replay in a file beside the same one in memory: resident memory, time to sample, cost of checkpoints, equality.

    python benchmarks/replay_on_disk.py --on DIR                       # four times 256 MB; a minute or two
    python benchmarks/replay_on_disk.py --on DIR --allowed 2GB --json replay_on_disk.json

Each replay is four times as large as the memory allowed, is filled beyond its end, sampled, converted to latents and
sampled again, in a process of its own. That of the file is held to the memory allowed beside what it has taken before
(RLIMIT_DATA, which counts what a process has for itself; what the system keeps of files isn't its own). A replay in
memory under the same limit is tried too, and must fail. Batches and latents of both have to be the same.

"Cold" batches come from a file of which the system has just been made to keep nothing: the most that a disk can cost.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from report import give_back_freed_memory, machine, number, table, versions
from seer.replay import FileBlock, Replay, RowFormat
from seer.replay.make import make_replay
from seer.runs.checkpoints import load_checkpoint, save_checkpoint
from seer.system_info import resident_bytes
from seer.validation import parse_memory

FRAME, STACK, BATCH = RowFormat((3, 100, 100), torch.uint8), 3, 128  # as for CURL on DeepMind Control
LATENT = RowFormat((4, 2, 50), torch.float32)
LARGER = 4  # times the memory allowed
BATCHES, COLD_BATCHES, NEW_ROWS, EPISODE = 60, 15, 1000, 250
KINDS = ("memory", "file", "memory, limited")


class Watch:
    """The most that the process had resident at the times it was looked at, beyond what it had at first."""

    def __init__(self) -> None:
        self.first, self.seen = resident_bytes(), [0]

    def look(self) -> None:
        """Note what is resident now."""
        self.seen.append(resident_bytes() - self.first)


def new_replay(num_bytes: int, folder: Path | None) -> Replay:
    """Return an empty one, of CURL's rows."""
    space = gymnasium.spaces.Box(-1, 1, (1,))
    return make_replay(num_bytes=num_bytes, action_space=space, frame_shape=FRAME.shape, stack=STACK, path=folder)


def encode(frames: Tensor) -> Tensor:
    """Return latents that depend on every frame of a stack `[B, S, C, H, W]`, and cost little."""
    pixels = frames.view(len(frames), -1)[:, : 400 * (STACK * FRAME.num_bytes // 400)]
    return pixels.view(len(frames), 400, -1).float().mean(2).view(-1, *LATENT.shape)


def fill(replay: Replay, rows: int, row: Callable[[int], Any], watch: Watch) -> None:
    """Append rows, in episodes that a time limit cuts."""
    for step in range(rows):
        last = step % EPISODE == EPISODE - 1
        action = np.zeros(1, np.float32)
        replay.append(row(step), action, step % 7, terminated=False, truncated=last, final_row=row(step))
        if step % 500 == 0:
            watch.look()


def sample(replay: Replay, batches: int, watch: Watch, digest: Any, *, cold: bool = False) -> float:
    """Return the median milliseconds of a batch; digest what was sampled."""
    seconds = []
    for _ in range(batches):
        if cold:
            forget(replay)
        began = time.perf_counter()
        batch = replay.sample(BATCH)
        seconds.append(time.perf_counter() - began)
        watch.look()
        digest.update(batch.now.numpy().data)
        digest.update(batch.next.numpy().data)
        del batch
    return float(np.median(seconds)) * 1000


def forget(replay: Replay) -> None:
    """Let the system keep nothing of a replay's file in memory."""
    block = replay._ring.memory
    assert isinstance(block, FileBlock)
    os.fsync(block._file)
    os.posix_fadvise(block._file, 0, 0, os.POSIX_FADV_DONTNEED)


def save(replay: Replay, root: Path, step: int, before: Path | None, watch: Watch) -> tuple[Path, dict[str, float]]:
    """Write a checkpoint; return it with its seconds and the bytes that no other one shares."""
    began = time.perf_counter()
    folder = save_checkpoint(root, step, {"replay": replay.state_dict()}, before=before)
    seconds = time.perf_counter() - began
    watch.look()
    own = [file.stat() for file in folder.iterdir()]
    return folder, {"seconds": seconds, "bytes": sum(each.st_size for each in own if each.st_nlink == 1)}


def measure(kind: str, folder: Path, allowed: int) -> dict[str, Any]:
    """Return all figures of one replay."""
    place = folder if kind == "file" else None
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1021, *FRAME.shape), np.uint8)
    latents = [torch.full(LATENT.shape, float(each)) for each in range(97)]
    small, warm = new_replay(300 * FRAME.num_bytes, place), Watch()  # what is taken once is taken now
    fill(small, 400, lambda step: frames[step], warm)
    sample(small, 3, warm, hashlib.sha256())
    small.transcode(encode, LATENT)
    sample(small, 3, warm, hashlib.sha256())
    del small
    give_back_freed_memory()
    if kind != "memory":
        taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
        most = int(taken.split()[1]) * 1024 + allowed
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    watch, digest, found = Watch(), hashlib.sha256(), dict[str, Any]()
    replay = new_replay(LARGER * allowed, place)
    fill(replay, replay.capacity * 5 // 4, lambda step: frames[step % 1021], watch)
    found["frames_ms"] = sample(replay, BATCHES, watch, digest)
    with tempfile.TemporaryDirectory(dir=folder) as root:
        first, found["first_checkpoint"] = save(replay, Path(root), 1, None, watch)
        fill(replay, NEW_ROWS, lambda step: frames[step % 1021], watch)
        _, found["next_checkpoint"] = save(replay, Path(root), 2, first, watch)
        began = time.perf_counter()
        replay.load_state_dict(load_checkpoint(first)["replay"])
        found["load_seconds"] = time.perf_counter() - began
    watch.look()
    began = time.perf_counter()
    replay.transcode(encode, LATENT, progress=lambda done, _of: None if done % 320 else watch.look())
    found["conversion_seconds"] = time.perf_counter() - began
    fill(replay, NEW_ROWS, lambda step: latents[step % 97], watch)
    found["latents_ms"] = sample(replay, BATCHES, watch, digest)
    found |= {"digest": digest.hexdigest(), "resident": watch.seen, "most_resident": max(watch.seen)}
    if kind == "file":
        found["cold_latents_ms"] = sample(replay, COLD_BATCHES, watch, digest, cold=True)
        replay = new_replay(LARGER * allowed, place)
        fill(replay, replay.capacity, lambda step: frames[step % 1021], watch)
        found["cold_frames_ms"] = sample(replay, COLD_BATCHES, watch, digest, cold=True)
    return found


def report(found: dict[str, dict[str, Any]], allowed: int) -> str:
    """Return the figures as a table."""
    rows: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "most resident beside the program, MB": lambda each: each["most_resident"] / 1e6,
        "batch of frames, ms": lambda each: each["frames_ms"],
        "batch of frames, cold, ms": lambda each: each.get("cold_frames_ms"),
        "batch of latents, ms": lambda each: each["latents_ms"],
        "batch of latents, cold, ms": lambda each: each.get("cold_latents_ms"),
        "conversion, s": lambda each: each["conversion_seconds"],
        "first checkpoint, s": lambda each: each["first_checkpoint"]["seconds"],
        "first checkpoint, MB written": lambda each: each["first_checkpoint"]["bytes"] / 1e6,
        f"checkpoint {NEW_ROWS} rows later, s": lambda each: each["next_checkpoint"]["seconds"],
        f"checkpoint {NEW_ROWS} rows later, MB written": lambda each: each["next_checkpoint"]["bytes"] / 1e6,
        "loading a checkpoint, s": lambda each: each["load_seconds"],
    }
    lines = [[name, *(number(figure(found[kind])) for kind in KINDS[:2])] for name, figure in rows.items()]
    title = f"replay of {LARGER * allowed / 1e6:,.0f} MB, {allowed / 1e6:,.0f} MB allowed to that in a file"
    return table([title, *KINDS[:2]], lines)


def main() -> None:
    """Measure each replay in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--on", type=Path, required=True, help="a folder on the disk to be measured")
    parser.add_argument("--allowed", default="256MB", help="memory allowed; the replay is four times as large")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)  # what a child measures
    options = parser.parse_args()
    allowed = parse_memory(options.allowed, flag="--allowed")
    torch.set_num_threads(1)
    if options.kind:
        print(json.dumps(measure(options.kind, options.on, allowed)))
        return
    found = {}
    for kind in KINDS:
        print(f"measuring: {kind}", file=sys.stderr)
        child = subprocess.run([sys.executable, *sys.argv, "--kind", kind], capture_output=True, text=True, check=False)
        if kind == "memory, limited":
            if "can't allocate memory" not in child.stderr:
                sys.exit(f"a replay in memory beyond the limit wasn't refused memory: {child.stderr or 'it worked'}")
        elif child.returncode:
            sys.exit(child.stderr)
        else:
            found[kind] = json.loads(child.stdout)
    if found["memory"]["digest"] != found["file"]["digest"]:
        sys.exit("what was sampled from the file isn't what was sampled from memory")
    print(report(found, allowed))
    print("all batches are the same to the last bit; a replay in memory under the limit was refused")
    if options.json:
        content = {"machine": machine(), "versions": versions(), "allowed": allowed, "replays": found}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
