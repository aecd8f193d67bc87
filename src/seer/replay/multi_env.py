"""Several streams of observations, such as those of environments side by side: a ring for each, sampled as one.

Axes: B batch, E streams.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.errors import SettingError
from seer.replay.buffer import Batch, Replay
from seer.replay.memory import RowFormat
from seer.replay.samplers import Prioritized
from seer.replay.transcode import Encode, Progress, Transcoding, refuse_unfitted, together, weighted_mean


class Streams:
    """E replays of the same settings behind the interface of one; `streams[i].append` stores a step of stream i.

    A stack and a window of n steps lie within one stream, so none crosses to another. Every row is drawn with the
    probability that it would have in one replay of all rows, and a new row enters with the largest priority of all.
    The id of row r of stream i is r E + i.

    Args:
        streams: in parts of the memory that are equally large, numbered.
        rng: chooses streams; those draw from generators of their own.
    """

    def __init__(self, streams: Sequence[Replay], rng: np.random.Generator) -> None:
        self.streams = tuple(streams)
        self._rng = rng
        samplers = [stream.sampler for stream in streams]
        for sampler in samplers[1:]:
            if isinstance(sampler, Prioritized) and isinstance(samplers[0], Prioritized):
                sampler.enter_like(samplers[0])

    @property
    def row(self) -> RowFormat:
        """See `Replay`, as for all that follow."""
        return self.streams[0].row

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.streams[0].observation_shape

    @property
    def device(self) -> torch.device:
        return self.streams[0].device

    @property
    def holds_latents(self) -> bool:
        return self.streams[0].holds_latents

    @property
    def clipped_share(self) -> float | None:
        return weighted_mean(
            [stream.clipped_share for stream in self.streams], [stream.size for stream in self.streams]
        )

    @property
    def size(self) -> int:
        return sum(stream.size for stream in self.streams)

    @property
    def capacity(self) -> int:
        return sum(stream.capacity for stream in self.streams)

    @property
    def num_sampleable(self) -> int:
        return sum(stream.num_sampleable for stream in self.streams)

    @property
    def num_steps(self) -> int:
        return sum(stream.num_steps for stream in self.streams)

    @property
    def num_bytes(self) -> int:
        return sum(stream.num_bytes for stream in self.streams)

    @property
    def index_bytes(self) -> int:
        return sum(stream.index_bytes for stream in self.streams)

    def sample(self, batch_size: int, importance_exponent: float = 1.0) -> Batch:
        """As `Replay.sample`; one sample from each B-th of the mass of all streams."""
        mass = np.array([stream.sampler.mass for stream in self.streams])
        if self.num_sampleable == 0:
            raise SettingError("no stored row has a complete window of --n-step yet: start updates later")
        ends = np.cumsum(mass)
        drawn = (np.arange(batch_size) + self._rng.random(batch_size)) * (ends[-1] / batch_size)
        chosen = np.minimum(np.searchsorted(ends, drawn, side="right"), np.flatnonzero(mass)[-1])
        counts = np.bincount(chosen, minlength=len(mass))
        used = np.flatnonzero(counts)
        draws = [self.streams[each].draw(int(counts[each])) for each in used]
        probability = np.concatenate(
            [inside * (mass[each] / ends[-1]) for each, (_, inside) in zip(used, draws, strict=True)]
        )
        weight = probability**-importance_exponent
        weights = np.split(weight / weight.max(), np.cumsum(counts[used])[:-1])
        batches = [
            self.streams[each].batch(places, weights[part])
            for part, (each, (places, _)) in enumerate(zip(used, draws, strict=True))
        ]
        ids = [batch.index * len(self.streams) + each for each, batch in zip(used, batches, strict=True)]
        tensors = {
            field.name: torch.cat([getattr(batch, field.name) for batch in batches])
            for field in fields(Batch)
            if field.name != "index"
        }
        return Batch(**tensors, index=np.concatenate(ids))

    def update_priorities(self, index: NDArray[np.int64], priority: Tensor | NDArray[np.floating]) -> None:
        values = torch.as_tensor(priority).detach().to("cpu", torch.float64).numpy()
        for each, stream in enumerate(self.streams):
            own = index % len(self.streams) == each
            stream.update_priorities(index[own] // len(self.streams), values[own])

    def recent(self, count: int, *, span: int) -> NDArray[np.int64]:
        streams = len(self.streams)
        parts = [
            stream.recent(-(-count // streams), span=-(-span // streams)) * streams + each
            for each, stream in enumerate(self.streams)
        ]
        return np.sort(np.concatenate(parts))[-count:]

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        of = ids % len(self.streams)
        parts = [stream.read(ids[of == each] // len(self.streams)) for each, stream in enumerate(self.streams)]
        back = np.argsort(np.argsort(of, kind="stable"), kind="stable")
        return torch.cat(parts).index_select(0, torch.from_numpy(back).to(self.device))

    def transcode(
        self, encode: Encode, latent: RowFormat, *, chunk_rows: int = 32, progress: Progress | None = None
    ) -> Transcoding:
        refuse_unfitted(latent.dtype, [stream.size for stream in self.streams])  # before the first is converted
        done, total = 0, self.size
        results = []
        for stream in self.streams:
            shown = None if progress is None else _after(progress, done, total)
            results.append(stream.transcode(encode, latent, chunk_rows=chunk_rows, progress=shown))
            done += results[-1].rows
        return together(results)

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "streams": [stream.state_dict() for stream in self.streams],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["streams"]) != len(self.streams):
            raise ValueError(f"the saved replay has {len(state['streams'])} streams, not {len(self.streams)}")
        self._rng.bit_generator.state = state["rng"]
        for stream, saved in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(saved)


def _after(progress: Progress, done: int, total: int) -> Callable[[int, int], None]:
    return lambda rows, _of: progress(done + rows, total)
