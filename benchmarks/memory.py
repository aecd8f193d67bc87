"""Resident bytes of a stored step, and the time to sample a batch, of seer's replay beside other libraries' buffers.

    pip install -e '.[bench]'
    python benchmarks/memory.py --env ALE/Pong-v5 --json memory.json

Each store is filled to its capacity with the same steps, really played at random in the environment; the process's
resident memory before and after is what counts, actions, rewards and priorities included. A small store of the same
kind comes first, so that nothing counts which a library allocates once. All of them stay alive until the last is
measured, so that none lives in what another gave back; and what the C library merely keeps for later is handed back
before each look. (A compressing replay leaves holes in the heap, so in training it may hold more than shown here.)
"""

import argparse
import dataclasses
import gc
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import zstd
from sb3_extra_buffers.compressed.compressed_replay import CompressedReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer

from played import Step, fill_buffer, fill_replay, record, stacks
from report import give_back_freed_memory, machine, number, table, versions
from seer.config import Config, LatentDtype
from seer.core.phase import Phase
from seer.envs.base import PixelEnvironment
from seer.presets import preset
from seer.system_info import resident_bytes
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.build_replay import build_replay
from seer.training.computing import pick_device, use_threads
from timing import Row, interleave, milliseconds

LATENTS_MADE = 256  # recorded observations encoded for filling up; appended again and again
ROUNDS, SLICE_SECONDS = 15, 0.02


@dataclass(frozen=True)
class Filled:
    """A full store: how many steps it holds, and how a batch is drawn from it."""

    steps: int
    sample: Callable[[], object]


Maker = Callable[[Sequence[Step]], Filled]


def measure(config: Config, steps: int, *, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Return name, bytes per step and time to sample (median and quartiles) of all stores, smallest first."""
    environment = build_environment(config, training=True)
    recording = record(environment, steps, seed=config.seed)
    few = recording[: config.learning.batch_size + config.replay.n_step + environment.stack + 50]
    taken: dict[str, float] = {}
    rows: list[Row] = []
    alive: list[Filled] = []
    for name, fill in makers(config, environment).items():
        alive.append(fill(few))  # what libraries take once is taken now
        before = _bytes_in_use()
        store = fill(recording)
        taken[name] = (_bytes_in_use() - before) / store.steps
        alive.append(store)
        rows.append(Row(name, store.sample))
    times = interleave(rows, rounds=rounds, slice_seconds=SLICE_SECONDS, threads=config.threads or 1)
    found = [{"store": name, "bytes_per_step": taken[name], **milliseconds(times[name])} for name in taken]
    return sorted(found, key=lambda each: each["bytes_per_step"])


def makers(config: Config, environment: PixelEnvironment) -> Mapping[str, Maker]:
    """Return what fills each store with a recording."""
    lean: dict[str, Any] = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    packed, own = "sb3-extra-buffers, zstd 3", partial(_own, config, environment)
    theirs, compressing = partial(_theirs, environment, config.learning.batch_size), {"compression_method": "zstd3"}
    return {
        "seer, frames": partial(own, None),
        **{f"seer, latents, {dtype}": partial(own, dtype) for dtype in get_args(LatentDtype)},
        "Stable-Baselines3": partial(theirs, ReplayBuffer),
        "Stable-Baselines3, optimize_memory_usage": partial(theirs, partial(ReplayBuffer, **lean)),
        packed: partial(theirs, partial(CompressedReplayBuffer, **compressing)),
        f"{packed}, optimize_memory_usage": partial(theirs, partial(CompressedReplayBuffer, **compressing, **lean)),
        f"{packed}, the same, bytes copied": partial(
            theirs, partial(CompressedReplayBuffer, **compressing, **lean), after_each=_copy_newest
        ),
        "frames, each compressed, zstd 3": partial(compressed, environment, config.learning.batch_size),
    }


def _own(config: Config, environment: PixelEnvironment, dtype: LatentDtype | None, recording: Sequence[Step]) -> Filled:
    """Fill the replay of `seer train` with frames, or with latents of an encoder of fresh weights."""
    device = pick_device(config.device)
    config = dataclasses.replace(
        config,
        num_envs=1,
        replay=dataclasses.replace(config.replay, memory=None, capacity=len(recording)),
        freeze=dataclasses.replace(config.freeze, latent_dtype=dtype or "float32"),
    )
    num_bytes = len(recording) * recording[0].frame.nbytes
    (replay,) = build_replay(config, environment, device, np.random.default_rng(0), num_bytes=num_bytes).replays
    fill_replay(replay, recording, len(recording))
    if dtype is not None:
        agent = build_agent(config, environment, device)
        agent.freeze(Phase.after_freeze(frame_bytes=replay.row.num_bytes, latent_bytes=agent.latent.num_bytes))
        replay.transcode(agent.encode, agent.latent)
        if replay.holds_latents:
            some = recording[:LATENTS_MADE]
            rows = [agent.row(stack) for stack in stacks(some, environment.stack)]
            while replay.size < replay.capacity:
                for row, step in zip(rows, some, strict=True):
                    replay.append(row, step.action, step.reward, terminated=step.over)
    return Filled(replay.size, lambda: replay.sample(config.learning.batch_size))


def _theirs(
    environment: PixelEnvironment,
    batch: int,
    make: Callable[..., Any],
    recording: Sequence[Step],
    *,
    after_each: Callable[[Any], None] = lambda _: None,
) -> Filled:
    """Fill a buffer of Stable-Baselines3 or made for it, which stores the whole stack."""
    channels, size, _ = environment.frame_shape
    space = gymnasium.spaces.Box(0, 255, (environment.stack * channels, size, size), np.uint8)
    buffer = make(len(recording), space, environment.action_space, device="cpu")
    fill_buffer(buffer, recording, stack=environment.stack, view_size=size, after_each=after_each)
    return Filled(len(recording), lambda: buffer.sample(batch))


def _copy_newest(buffer: Any) -> None:
    """Copy what a buffer compressed last to bytes of just its size.

    The zstd package returns bytes in a block as large as the input could at worst have become, and such a block stays.
    """
    for place in (buffer.pos - 1, buffer.pos % buffer.buffer_size):
        packed = buffer.observations[place, 0]
        if isinstance(packed, bytes):
            buffer.observations[place, 0] = _fitted(packed)


def _fitted(packed: bytes) -> bytes:
    return bytes(bytearray(packed))


def compressed(environment: PixelEnvironment, batch: int, recording: Sequence[Step]) -> Filled:
    """Keep every frame once, compressed without loss and copied to its own size, which no library does that we know of.

    A batch is drawn uniformly, its observations and next ones stacked from their frames.
    """
    frames = [_fitted(zstd.compress(bytes(step.frame), 3)) for step in recording]
    others = np.array([(step.reward, step.over, *np.ravel(step.action)) for step in recording], np.float32)
    shape, stack, rng = environment.frame_shape, environment.stack, np.random.default_rng(0)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        newest = rng.integers(stack, len(frames), batch)
        places = newest[:, None] + np.arange(-stack, 1)  # of both stacks
        pixels = b"".join(zstd.decompress(frames[place]) for place in places.ravel())
        return np.frombuffer(pixels, np.uint8).reshape(batch, stack + 1, *shape), others[newest]

    return Filled(len(frames), sample)


def _bytes_in_use() -> int:
    """Return resident bytes, without those that the C library keeps for later."""
    gc.collect()
    give_back_freed_memory()
    return resident_bytes()


def stores_table(stores: Iterable[Mapping[str, Any]], batch: int) -> str:
    """Return one row a store; few small steps may find room in memory that was resident before, and take 0 bytes."""
    stores = list(stores)
    largest = max(each["bytes_per_step"] for each in stores)
    lines = []
    for each in stores:
        taken = each["bytes_per_step"]
        smaller = f"{largest / taken:.1f}" if taken else "-"
        lines.append((each["store"], f"{taken:,.0f}", smaller, number(each["milliseconds"])))
    return table(("store", "bytes a step", "times smaller", f"ms per batch of {batch}"), lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the file that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ALE/Pong-v5")
    parser.add_argument("--steps", type=int, default=2000, help="steps to store; few say little: memory comes in pages")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few hundred steps: only to see that it runs")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    given = parser.parse_args(arguments)
    if given.json and not given.json.parent.is_dir():
        parser.error(f"--json {given.json}: its folder doesn't exist; make it or give another place")
    config = dataclasses.replace(preset(given.env), threads=given.threads, device="cpu")
    use_threads(config)
    steps, rounds = (400, 1) if given.quick else (given.steps, ROUNDS)
    stores = measure(config, steps, rounds=rounds)
    print(f"{given.env}, {steps:,} steps played at random, resident bytes per stored step\n")
    print(stores_table(stores, config.learning.batch_size))
    if given.json:
        report = {"env": given.env, "steps": steps, "machine": machine(), "versions": versions(), "stores": stores}
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
