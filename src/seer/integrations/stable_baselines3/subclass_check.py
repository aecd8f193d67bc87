"""A trial of what a subclass of the buffer makes of samples, before there are features."""

import numpy as np
import torch
from torch import Tensor

from seer.errors import SettingError, shortened
from seer.integrations.stable_baselines3.buffer import SeerReplayBuffer
from seer.integrations.stable_baselines3.extractors import FrozenExtractors
from seer.replay import RowFormat


def check_subclass(buffer: SeerReplayBuffer, latent: RowFormat) -> None:
    """Let a subclass with a `sample` or `_get_samples` of its own sample features, from a tiny buffer that has some.

    Args:
        buffer: prepared.
        latent: what is to be stored after the freeze, [1, N, L].

    Raises:
        SettingError: the subclass can't.
    """
    kind = type(buffer)
    own = [name for name in ("sample", "_get_samples") if getattr(kind, name) is not getattr(SeerReplayBuffer, name)]
    if not own or latent.num_bytes > buffer.row_bytes:
        return
    with torch.random.fork_rng(devices=[]):
        try:
            _with_features(buffer, latent).sample(2)
        except Exception as error:
            raise SettingError(
                f"{kind.__name__}.{own[0]} works on images, but after the freeze samples are StoredFeatures "
                f"({shortened(error, limit=80)}): let it return them unchanged where self.holds_latents"
            ) from error


def _with_features(buffer: SeerReplayBuffer, latent: RowFormat) -> SeerReplayBuffer:
    """Return a buffer of the same class and attributes that holds a few steps of features, all zero."""
    assert buffer.frame_stack is not None
    trial = object.__new__(type(buffer))
    trial.__dict__.update(
        buffer.__dict__, _rng=np.random.default_rng(0), _first_buffer_size=buffer.n_steps + buffer.frame_stack + 1,
        _extractors=FrozenExtractors([], 0),
    )  # fmt: skip
    trial._replay = trial._make_replay(buffer.frame_stack)

    def zeros(rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), *latent.shape)

    for replay in trial._replay.rows.replays:
        row = torch.zeros(replay.row.shape, dtype=torch.uint8)
        replay.append(row, np.zeros(buffer.action_dim), 0.0, terminated=True)
        replay.transcode(zeros, latent)
    return trial
