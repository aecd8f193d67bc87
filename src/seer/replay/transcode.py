"""Stored frames turned into latents, inside the memory that holds the frames.

Axes: B batch, R rows, S stack, C channels, H height, W width, K crops, N latents per observation, L latent size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.core.rows import LATENT_DTYPES, Encode, Progress, RowFormat, refuse_unfitted
from seer.replay.codec import Codec, ErrorMeter, Int8Codec, LatentError
from seer.replay.layout import Layout
from seer.replay.ring import Ring

_FITTED_ROWS = 1024  # stored observations that the range of int8 is fitted to


@dataclass(frozen=True)
class Transcoding:
    """The outcome of a transcoding.

    Attributes:
        converted: False where a latent row would have been larger than a frame row: the frames were kept.
        rows: rows whose latents are stored now.
        dropped: rows that had lost part of their stack to the write head and could no longer be encoded (or sampled).
        fitted: rows that were encoded once more, before the others, to find the range of int8.
        error: how far the stored latents are from the encoder's; None where they are the same.
    """

    converted: bool
    rows: int
    dropped: int
    capacity_before: int
    capacity_after: int
    row_bytes_before: int
    row_bytes_after: int
    fitted: int = 0
    error: LatentError | None = None


@torch.no_grad()
def transcode(
    ring: Ring, encode: Encode, latent: RowFormat, *, chunk_rows: int, progress: Progress | None
) -> tuple[Transcoding, NDArray[np.int64]]:
    """Turn the frames of `ring` into latents; return the outcome and where the kept rows were, oldest first.

    See `Replay.transcode`.
    """
    if ring.holds_latents:
        raise ValueError("the replay holds latents already")
    if latent.dtype not in LATENT_DTYPES.values():
        raise ValueError(f"latents can't be stored as {latent.dtype}, only as {', '.join(LATENT_DTYPES)}")
    size, capacity, frame = ring.size, ring.capacity, ring.layout.row
    places, fitted, error = np.empty(0, np.int64), 0, None
    converted = latent.num_bytes <= frame.num_bytes
    if converted:
        codec, fitted = _fit(ring, encode, latent, chunk_rows)
        meter = None if codec.is_exact else ErrorMeter(latent.shape, ring.memory.device)
        places = ring.places(np.arange(ring.count - size, ring.count))
        ring.memory.rotate(frame, int(places[0]) if size else 0)
        dropped = _convert(
            ring, latent, ring.steps.age[places], encode, codec, chunk_rows=chunk_rows, progress=progress, meter=meter
        )
        places = places[dropped:]
        ring.use_latents(Layout.of_latents(latent, codec), places)
        error = meter.result(codec) if meter is not None and meter.count else None
    result = Transcoding(
        converted=converted,
        rows=len(places),
        dropped=size - len(places) if converted else 0,
        capacity_before=capacity,
        capacity_after=ring.capacity,
        row_bytes_before=frame.num_bytes,
        row_bytes_after=ring.layout.row.num_bytes,
        fitted=fitted,
        error=error,
    )
    return result, places


def _fit(ring: Ring, encode: Encode, latent: RowFormat, chunk_rows: int) -> tuple[Codec, int]:
    """Return the codec that stores the latents, and how many observations were encoded to fit its range."""
    if latent.dtype != torch.int8:
        return Codec(torch.float32, latent.dtype), 0
    ids = ring.recent(_FITTED_ROWS, span=ring.size)
    refuse_unfitted(latent.dtype, [len(ids)])
    chunks = np.split(ring.places(ids), range(chunk_rows, len(ids), chunk_rows))
    return Int8Codec.fitted(_encoded(encode, ring.read(places), latent) for places in chunks), len(ids)


def _convert(
    ring: Ring,
    latent: RowFormat,
    ages: NDArray[np.uint8],
    encode: Encode,
    codec: Codec,
    *,
    chunk_rows: int,
    progress: Progress | None,
    meter: ErrorMeter | None,
) -> int:
    """Encode the rows of `ring`, oldest first in its memory, and return how many at the start had to be dropped.

    Frames and latents share their bytes, and a latent row is no larger than a frame row: the write point stays behind
    the read point, except for the last frames of a chunk that the next chunk's stacks reach back to, which are
    carried along. Row i becomes the latents of observation `dropped + i`.

    Args:
        ages: `[R]`, each row's predecessors in its episode, stored or not, S - 1 at most.
        meter: is told of every row and of what is read of it.
    """
    memory, frame, stack = ring.memory, ring.layout.row, ring.layout.stack
    num_rows = len(ages)
    back = np.arange(stack - 1, -1, -1)
    dropped = int(np.count_nonzero(ages > np.arange(num_rows)))  # their stack reaches back before row 0
    carried = memory.read_rows(frame, 0, dropped)
    for start in range(dropped, num_rows, chunk_rows):
        stop = min(start + chunk_rows, num_rows)
        held = torch.cat([carried, memory.read_rows(frame, start, stop)])
        places = np.arange(start, stop)[:, None] - np.minimum(back, ages[start:stop, None])  # [B, S]
        index = ring.to_device(places - (stop - len(held)))
        stacks = held.index_select(0, index.flatten()).view(*index.shape, *frame.shape)
        encoded = _encoded(encode, stacks, latent)
        stored = codec.encode(encoded)
        memory.write_rows(latent, start - dropped, stored)
        if meter is not None:
            meter.add(encoded, codec.decode(stored))
        carried = held[max(0, len(held) - (stack - 1)) :]
        if progress is not None:
            progress(stop - dropped, num_rows - dropped)
    return dropped


def _encoded(encode: Encode, stacks: Tensor, latent: RowFormat) -> Tensor:
    """Return the latents of `stacks`; refuse what assigning would broadcast or cast, and what is no number."""
    encoded, shape = encode(stacks), (len(stacks), *latent.shape)
    if encoded.shape != shape or encoded.dtype != torch.float32:
        raise ValueError(f"encode returned {tuple(encoded.shape)} {encoded.dtype}, not {shape} {torch.float32}")
    if not torch.isfinite(encoded).all():
        raise ValueError("the encoder gives latents that aren't finite for stored frames: nan or infinite")
    return encoded


def together(results: Sequence[Transcoding]) -> Transcoding:
    """Return the outcome of transcoding several replays of the same kind of row; errors as the root mean square."""
    rows, errors, error = [result.rows for result in results], [result.error for result in results], None
    square = weighted_mean([None if each is None else each.relative**2 for each in errors], rows)
    if square is not None:
        largest = max(each.largest for each in errors if each)
        clipped = weighted_mean([None if each is None else each.clipped_share for each in errors], rows)
        error = LatentError(square**0.5, largest, clipped)
    added: dict[str, Any] = {
        name: sum(getattr(result, name) for result in results)
        for name in ("rows", "dropped", "capacity_before", "capacity_after", "fitted")
    }
    return replace(results[0], **added, error=error)


def weighted_mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    """Return the mean of the `values` that aren't None; None where that is none of them."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
