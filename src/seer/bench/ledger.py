"""`seer memory --measure`: resident bytes of a stored step, and how long sampling takes, store by store.

Each store is filled to its capacity with the same steps, really played at random in the environment; the process's
resident memory before and after is what counts, actions, rewards and priorities included. A small store of the same
kind comes first, so that nothing counts which a library allocates once. All of them stay alive until the last is
measured, so that none lives in what another gave back; and what the C library merely keeps for later is handed back
before each look. (A compressing replay leaves holes in the heap, so in training it may hold more than shown here.)
"""

import dataclasses
import gc
import importlib.util
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import gymnasium
import numpy as np
from rich.table import Table

from seer.allocator import give_back_freed_memory
from seer.bench.subject import Step, record
from seer.bench.timing import no_progress
from seer.config import Config, LatentDtype
from seer.envs import PixelEnvironment
from seer.system_info import resident_bytes
from seer.training.build import build_agent, build_environment, build_replay, pick_device

LATENTS_MADE = 256  # recorded observations encoded for filling up; appended again and again
TIMED_SAMPLES = 50
COPIED = "bytes copied"


@dataclass(frozen=True)
class Entry:
    """One store: resident bytes per stored step, and milliseconds per batch sampled (median)."""

    store: str
    bytes_per_step: float
    sample_ms: float


@dataclass(frozen=True)
class Filled:
    """A full store: how many steps it holds, and how a batch is drawn from it."""

    steps: int
    sample: Callable[[], object]


Maker = Callable[[Sequence[Step]], Filled]


def measure_stores(config: Config, steps: int, progress: Callable[[int, int], None]) -> tuple[list[Entry], list[str]]:
    """The entries of all stores, and a line for each that is missing, with the reason."""
    environment = build_environment(config, training=True)
    recording = record(environment, steps, no_progress, seed=config.seed)
    makers: dict[str, Maker] = {"seer, frames": partial(_ours, config, environment, None)}
    for dtype in get_args(LatentDtype):
        makers[f"seer, latents, {dtype}"] = partial(_ours, config, environment, dtype)
    others, missing = _other_buffers()
    for name, make in others.items():
        makers[name] = partial(_theirs, make, environment, config.learning.batch_size, copied=COPIED in name)
    if importlib.util.find_spec("zstd"):
        makers["frames, each compressed, zstd 3"] = partial(_compressed, environment, config.learning.batch_size)
    few = recording[: config.learning.batch_size + config.replay.n_step + environment.stack + 50]
    entries: list[Entry] = []
    alive: list[Filled] = []
    for number, (name, fill) in enumerate(makers.items()):
        progress(number, len(makers))
        alive.append(fill(few))  # what libraries take once is taken now
        before = _bytes_in_use()
        alive.append(fill(recording))
        taken = _bytes_in_use() - before
        entries.append(Entry(name, taken / alive[-1].steps, _median_ms(alive[-1].sample)))
    progress(len(makers), len(makers))
    return entries, missing


def _other_buffers() -> tuple[dict[str, Callable[..., Any]], list[str]]:
    """What is installed of other replays, by name, and a line for each that isn't."""
    lean: dict[str, Any] = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    try:
        from stable_baselines3.common.buffers import ReplayBuffer
    except ImportError:
        return {}, ["Stable-Baselines3 and sb3-extra-buffers aren't installed: pip install 'seer-rl[bench]'"]
    name = "Stable-Baselines3"
    found: dict[str, Callable[..., Any]] = {
        name: ReplayBuffer,
        f"{name}, optimize_memory_usage": partial(ReplayBuffer, **lean),
    }
    try:
        import zstd  # noqa: F401 (what sb3-extra-buffers compresses with)
        from sb3_extra_buffers.compressed.compressed_replay import CompressedReplayBuffer
    except ImportError:
        return found, ["sb3-extra-buffers or its zstd isn't installed: pip install 'seer-rl[bench]'"]
    name, packed = "sb3-extra-buffers, zstd 3", partial(CompressedReplayBuffer, compression_method="zstd3")
    lean_packed = partial(packed, **lean)
    more = {name: packed, f"{name}, optimize_memory_usage": lean_packed, f"{name}, the same, {COPIED}": lean_packed}
    return found | more, []


def ledger_table(config: Config, steps: int, entries: Sequence[Entry]) -> Table:
    """One row a store, smallest first, beside Stable-Baselines3's default where that was measured."""
    title = f"Resident bytes per stored step, {config.env}, {steps:,} steps played at random"
    table = Table("store", title=title, title_justify="left")
    for name in ("bytes a step", "times smaller", f"ms per batch of {config.learning.batch_size}"):
        table.add_column(name, justify="right", no_wrap=True)
    largest = max(entry.bytes_per_step for entry in entries)
    for entry in sorted(entries, key=lambda entry: entry.bytes_per_step):
        ratio = f"{largest / entry.bytes_per_step:.1f}"
        table.add_row(entry.store, f"{entry.bytes_per_step:,.0f}", ratio, f"{entry.sample_ms:.2f}")
    return table


def _stacks(recording: Sequence[Step], stack: int) -> Iterator[np.ndarray]:
    """The observations [S, C, H, W] of a recording; an episode's first frame fills the stack."""
    frames: deque[Any] = deque(maxlen=stack)
    for number, step in enumerate(recording):
        first = number == 0 or recording[number - 1].over
        frames.extend([step.frame] * (stack if first else 1))
        yield np.stack(frames)


def _ours(
    config: Config, environment: PixelEnvironment, dtype: LatentDtype | None, recording: Sequence[Step]
) -> Filled:
    """The replay of `seer train`, full of frames, or of latents of an encoder of fresh weights."""
    device = pick_device(config.device)
    config = dataclasses.replace(
        config,
        num_envs=1,
        replay=dataclasses.replace(config.replay, memory=None, capacity=len(recording)),
        freeze=dataclasses.replace(config.freeze, latent_dtype=dtype or "float32"),
    )
    num_bytes = len(recording) * recording[0].frame.nbytes
    (replay,) = build_replay(config, environment, device, np.random.default_rng(0), num_bytes=num_bytes).replays
    for step in recording:
        replay.append(step.frame, step.action, step.reward, terminated=step.over)
    if dtype is not None:
        agent = build_agent(config, environment, device)
        agent.freeze_and_transcode(replay)
        if replay.holds_latents:
            some = recording[:LATENTS_MADE]
            rows = [agent.row(stack) for stack in _stacks(some, environment.stack)]
            while replay.size < replay.capacity:
                for row, step in zip(rows, some, strict=True):
                    replay.append(row, step.action, step.reward, terminated=step.over)
    return Filled(replay.size, lambda: replay.sample(config.learning.batch_size))


def _theirs(
    make: Callable[..., Any], environment: PixelEnvironment, batch: int, recording: Sequence[Step], *, copied: bool
) -> Filled:
    """A buffer of Stable-Baselines3 or made for it, which stores the whole stack.

    `copied`: what it compressed is copied to bytes of just its size. The zstd package returns bytes in a block as
    large as the input could at worst have become, and such a block stays whole.
    """
    channels, height, width = environment.frame_shape
    space = gymnasium.spaces.Box(0, 255, (environment.stack * channels, height, width), np.uint8)
    buffer = make(len(recording), space, environment.action_space, device="cpu")
    stacks = _stacks([*recording, recording[0]], environment.stack)
    now = next(stacks).reshape(space.shape)
    for step, stack in zip(recording, stacks, strict=True):
        after = stack.reshape(space.shape)
        done = np.array([step.over])
        buffer.add(now[None], after[None], np.array([step.action]), np.array([step.reward]), done, [{}])
        now = after
        if copied:
            _copy_newest(buffer)
    return Filled(len(recording), lambda: buffer.sample(batch))


def _compressed(environment: PixelEnvironment, batch: int, recording: Sequence[Step]) -> Filled:
    """Every frame once, compressed without loss and copied to its own size, which no library does that we know of.

    A batch is drawn uniformly, its observations and next ones stacked from their frames.
    """
    import zstd

    frames = [bytes(bytearray(zstd.compress(bytes(step.frame), 3))) for step in recording]
    others = np.array([(step.reward, step.over, *np.ravel(step.action)) for step in recording], np.float32)
    shape, stack, rng = environment.frame_shape, environment.stack, np.random.default_rng(0)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        newest = rng.integers(stack, len(frames), batch)
        places = newest[:, None] + np.arange(-stack, 1)  # of both stacks
        pixels = b"".join(zstd.decompress(frames[place]) for place in places.ravel())
        return np.frombuffer(pixels, np.uint8).reshape(batch, stack + 1, *shape), others[newest]

    return Filled(len(frames), sample)


def _copy_newest(buffer: Any) -> None:
    for number in (buffer.pos - 1, buffer.pos % buffer.buffer_size):
        packed = buffer.observations[number, 0]
        if isinstance(packed, bytes):
            buffer.observations[number, 0] = bytes(bytearray(packed))


def _bytes_in_use() -> int:
    """Resident bytes, without those that the C library keeps for later."""
    gc.collect()
    give_back_freed_memory()
    return resident_bytes()


def _median_ms(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(TIMED_SAMPLES):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)
