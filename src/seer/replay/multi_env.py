"""The replay of several environments side by side: one replay each, sampled as one.

Axes: B batch, E environments.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seer.core.rows import Encode, Progress, RowFormat, refuse_unfitted
from seer.errors import SettingError
from seer.replay.batch import Batch
from seer.replay.buffer import Replay
from seer.replay.samplers import Prioritized
from seer.replay.transcode import Transcoding, together, weighted_mean


class MultiEnvReplay:
    """E replays of the same settings behind the interface of one; `replays[i].append` stores a step of environment i.

    A stack and a window of n steps lie within one replay, so none crosses to another environment. Every row is drawn
    with the probability that it would have in one replay of all rows, and a new row enters with the largest priority
    of all. The id of row r of replay i is r E + i.

    Args:
        replays: in parts of the memory that are equally large, numbered.
        rng: chooses replays; those draw from generators of their own.
    """

    def __init__(self, replays: Sequence[Replay], rng: np.random.Generator) -> None:
        self.replays = tuple(replays)
        self._rng = rng
        first, *others = (replay.sampler for replay in replays)
        for other in others:
            if isinstance(other, Prioritized) and isinstance(first, Prioritized):
                other.enter_like(first)

    @property
    def row(self) -> RowFormat:
        """See `Replay`, as for all that follow."""
        return self.replays[0].row

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.replays[0].observation_shape

    @property
    def device(self) -> torch.device:
        return self.replays[0].device

    @property
    def holds_latents(self) -> bool:
        return self.replays[0].holds_latents

    @property
    def clipped_share(self) -> float | None:
        shares = [replay.clipped_share for replay in self.replays]
        return weighted_mean(shares, [replay.size for replay in self.replays])

    @property
    def size(self) -> int:
        return sum(replay.size for replay in self.replays)

    @property
    def capacity(self) -> int:
        return sum(replay.capacity for replay in self.replays)

    @property
    def num_sampleable(self) -> int:
        return sum(replay.num_sampleable for replay in self.replays)

    @property
    def num_steps(self) -> int:
        return sum(replay.num_steps for replay in self.replays)

    @property
    def num_bytes(self) -> int:
        return sum(replay.num_bytes for replay in self.replays)

    @property
    def index_bytes(self) -> int:
        return sum(replay.index_bytes for replay in self.replays)

    def sample(self, batch_size: int, importance_exponent: float = 1.0) -> Batch:
        """Draw as `Replay.sample` does, one row from each B-th of the mass of all replays."""
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}: draw 1 or more")
        if self.num_sampleable == 0:
            raise SettingError("no stored row has a complete window of n_step steps yet: start updates later")
        mass = np.array([replay.sampler.mass for replay in self.replays])
        ends = np.cumsum(mass)
        drawn = (np.arange(batch_size) + self._rng.random(batch_size)) * (ends[-1] / batch_size)
        chosen = np.minimum(np.searchsorted(ends, drawn, side="right"), np.flatnonzero(mass)[-1])
        counts = np.bincount(chosen, minlength=len(mass))
        used = np.flatnonzero(counts)
        draws = [self.replays[env].draw(int(counts[env])) for env in used]
        probability = np.concatenate(
            [inside * (mass[env] / ends[-1]) for env, (_, inside) in zip(used, draws, strict=True)]
        )
        weight = probability**-importance_exponent
        weights = np.split(weight / weight.max(), np.cumsum(counts[used])[:-1])
        batches = [
            self.replays[env].batch(places, own) for env, (places, _), own in zip(used, draws, weights, strict=True)
        ]
        ids = [batch.index * len(self.replays) + env for env, batch in zip(used, batches, strict=True)]
        tensors = {
            field.name: torch.cat([getattr(batch, field.name) for batch in batches])
            for field in fields(Batch)
            if field.name != "index"
        }
        return Batch(**tensors, index=np.concatenate(ids))

    def update_priorities(self, index: NDArray[np.int64], priority: Tensor | NDArray[np.floating]) -> None:
        values = torch.as_tensor(priority).detach().to("cpu", torch.float64).numpy()
        for env, replay in enumerate(self.replays):
            own = index % len(self.replays) == env
            replay.update_priorities(index[own] // len(self.replays), values[own])

    def clear(self) -> None:
        for replay in self.replays:
            replay.clear()

    def recent(self, count: int, *, span: int) -> NDArray[np.int64]:
        num_envs = len(self.replays)
        parts = [
            replay.recent(-(-count // num_envs), span=-(-span // num_envs)) * num_envs + env
            for env, replay in enumerate(self.replays)
        ]
        return np.sort(np.concatenate(parts))[-count:]

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        envs = ids % len(self.replays)
        parts = [replay.read(ids[envs == env] // len(self.replays)) for env, replay in enumerate(self.replays)]
        back = np.argsort(np.argsort(envs, kind="stable"), kind="stable")
        return torch.cat(parts).index_select(0, torch.from_numpy(back).to(self.device))

    def transcode(
        self, encode: Encode, latent: RowFormat, *, chunk_rows: int = 32, progress: Progress | None = None
    ) -> Transcoding:
        refuse_unfitted(latent.dtype, [replay.size for replay in self.replays])  # before the first is converted
        done, total = 0, self.size
        results = []
        for replay in self.replays:
            shown = None if progress is None else _after(progress, done, total)
            results.append(replay.transcode(encode, latent, chunk_rows=chunk_rows, progress=shown))
            done += results[-1].rows
        return together(results)

    def state_dict(self) -> dict[str, Any]:
        """See `Replay.state_dict`; the replays are under "streams", as in checkpoints of all versions."""
        return {
            "rng": self._rng.bit_generator.state,
            "streams": [replay.state_dict() for replay in self.replays],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        saved = state["streams"]
        if len(saved) != len(self.replays):
            raise ValueError(f"the saved replay is of {len(saved)} environments, not {len(self.replays)}")
        self._rng.bit_generator.state = state["rng"]
        for replay, own in zip(self.replays, saved, strict=True):
            replay.load_state_dict(own)


def _after(progress: Progress, done: int, total: int) -> Callable[[int, int], None]:
    return lambda rows, _of: progress(done + rows, total)
