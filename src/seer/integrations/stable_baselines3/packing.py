"""The packing of Stable-Baselines3's observations into rows of bytes, one per frame of the stack.

Axes: E environments, B batch, S stack, R bytes of one row.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import get_obs_shape, is_image_space
from torch import Tensor

from seer.errors import SettingError
from seer.replay import RowFormat

Observation = Any
"""Of SB3: an array or tensor [E, *space.shape], or a dict of them."""
ROUNDING = 0.01
"""How far beyond 1 a scaled action may be: where a Box is narrow and far from 0, float32 is coarse."""
Packed = NDArray[np.uint8]
"""Observations as bytes, [E, S, R], or one of them, [S, R]."""


class _Part:
    """Holds where in the row the bytes of a key, or of a whole observation, are, and what one frame of it is."""

    def __init__(self, key: str | None, space: spaces.Space[Any], stack: int, start: int) -> None:
        shape = get_obs_shape(space)
        assert isinstance(shape, tuple)  # SB3 has refused nested spaces
        self.name = "the observation" if key is None else f"'{key}' of the observation"
        if len(shape) == 0 or shape[0] % stack != 0:
            raise SettingError(
                f"frame_stack is {stack}, but {self.name} has shape {shape}, whose first axis doesn't divide: "
                "pass replay_buffer_kwargs={'frame_stack': 1} to store whole observations"
            )
        self.key = key
        self.shape = (shape[0] // stack, *shape[1:])
        self.dtype = np.dtype(space.dtype)
        self.bytes = slice(start, start + math.prod(self.shape) * self.dtype.itemsize)


class ObservationPacker:
    """Packs observations into rows and back; what was packed comes back bit for bit.

    Args:
        space: of the model: images channels first, a stack of frames as S * C channels, oldest first.
        stack: S; every key of a Dict is stacked alike. 1: a row is a whole observation.

    Raises:
        SettingError: a shape that doesn't divide into S frames.
    """

    def __init__(self, space: spaces.Space[Any], stack: int) -> None:
        self.stack = stack
        self.is_dict = isinstance(space, spaces.Dict)
        self._parts: list[_Part] = []
        size = 0
        for key, subspace in space.spaces.items() if isinstance(space, spaces.Dict) else [(None, space)]:
            self._parts.append(_Part(key, subspace, stack, size))
            size = self._parts[-1].bytes.stop
        self.row = RowFormat((size,), torch.uint8)

    def pack(self, observations: Observation) -> Packed:
        """Copy observations into rows [E, S, R].

        Raises:
            SettingError: they are of another shape than the model's, such as images with their channels last, or have
                numbers that aren't finite.
        """
        packed = []
        for part in self._parts:
            array = np.asarray(observations[part.key] if self.is_dict else observations, part.dtype)
            whole = (self.stack * part.shape[0], *part.shape[1:])
            if array.ndim > 1 and array.shape[1:] != whole:  # of one axis: E numbers of a Discrete space
                raise SettingError(
                    f"observations to store have shape {array.shape[1:]}, the model's are {whole}: add those of "
                    "model.get_env(); VecNormalize hides the wrapper that puts channels first, so wrap "
                    "VecNormalize(VecTransposeImage(...), norm_obs=False)"
                )
            if part.dtype.kind == "f" and not np.isfinite(array).all():
                raise SettingError(f"{part.name} has numbers that aren't finite: nothing can be learnt from them")
            packed.append(np.ascontiguousarray(array).reshape(len(array), self.stack, -1).view(np.uint8))
        return np.concatenate(packed, axis=-1)

    def is_one_frame(self, observation: Observation) -> bool:
        """Say whether an observation of one environment is one frame where a stack is wanted."""
        sizes = [np.size(observation[part.key] if self.is_dict else observation) for part in self._parts]
        return self.stack > 1 and sizes == [math.prod(part.shape) for part in self._parts]

    def unpack(self, rows: Tensor) -> Observation:
        """Return the observations of rows [B, S, R] uint8, tensors on the same device."""
        unpacked = {}
        for part in self._parts:
            # A copy of its own: as a slice it may begin where no number of several bytes can.
            own = rows[..., part.bytes].clone(memory_format=torch.contiguous_format)
            values = own.view(_torch_dtype(part.dtype))
            unpacked[part.key] = values.view(len(rows), self.stack * part.shape[0], *part.shape[1:])
        return unpacked if self.is_dict else unpacked[None]


def refuse_actions(space: spaces.Space[Any], actions: NDArray[Any]) -> None:
    """Refuse actions that aren't of the space; those of a Box are scaled to [-1, 1], as SB3 stores them.

    Raises:
        SettingError: one isn't.
    """
    actions = np.asarray(actions)
    if isinstance(space, spaces.Discrete):
        choices = actions - space.start
        if not ((choices >= 0) & (choices < space.n) & (choices % 1 == 0)).all():
            raise SettingError(
                f"actions to store are {actions.tolist()}: the space has {space.start} to {space.start + space.n - 1}"
            )
    if isinstance(space, spaces.Box) and not (np.abs(actions) <= 1 + ROUNDING).all():
        raise SettingError(
            f"actions to store are {actions.tolist()}, but Stable-Baselines3 stores them scaled to [-1, 1]: give "
            "model.policy.scale_action(action)"
        )


def complete_last(
    packer: ObservationPacker, now: Packed, following: Packed, infos: list[dict[str, Any]], *, done: NDArray[Any],
    truncated: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Put into `following` [E, S, R] the stacks of last observations that are one frame: SB3 repeats that S times.

    Warns where an episode was cut by a time limit and its last observation is unknown.
    """
    for env in np.flatnonzero(done):
        last = infos[env].get("terminal_observation")
        if last is not None and packer.is_one_frame(last):
            following[env, :-1] = now[env, 1:]
            continue
        is_next = packer.stack > 1 and np.array_equal(now[env, 1:], following[env, :-1])
        if last is None and truncated[env] and not is_next:
            warnings.warn(
                "an episode was cut by a time limit, but its infos have no terminal_observation: as in "
                "Stable-Baselines3 the next episode's first observation is valued instead; put the last one into infos",
                stacklevel=3,
            )


def has_image(space: spaces.Space[Any]) -> bool:
    """Say whether there is an image in the observation, as SB3 sees it, bytes or already normalised."""
    subspaces = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return any(is_image_space(subspace, normalized_image=True) for subspace in subspaces)


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
