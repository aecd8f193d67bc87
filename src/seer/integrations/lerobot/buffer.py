"""LeRobot's replay buffer, with features in place of pictures.

Axes: B batch, K views.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from lerobot.datasets import LeRobotDataset
from lerobot.rl.buffer import BatchTransition, ReplayBuffer
from torch import Tensor

from seer.errors import SettingError
from seer.integrations.lerobot.demonstrations import transitions_of
from seer.integrations.lerobot.features import FrozenFeatures, picture_of
from seer.integrations.lerobot.kept_episodes import KeptEpisodes
from seer.integrations.lerobot.state import load_state, state_of

Row = dict[str, Tensor]
Info = dict[str, Tensor | float | int] | None


class FeatureReplayBuffer(ReplayBuffer):  # type: ignore[misc]  # LeRobot isn't installed where types are checked
    """Encode each observation when its transition comes in, and store the encoder's maps, vectors, actions and ends.

    The interface is LeRobot's. A batch has no pictures but, under the keys of `FEATURES`, a float32 map of each.
    An observation is stored once: the next observation of a step is the next row, and a row apart only where the next
    step doesn't begin with it, as at the end of an episode.

    Args:
        capacity, device, state_keys, storage_device: as LeRobot's.
        image_augmentation_function: None; give `FrozenFeatures` the shift.
        use_drq: whether shifted views are stored, as `features` was told; None asks for neither.
        optimize_memory: has no effect; memory is always shared by successive observations.
        features: encodes observations; several buffers may share it, so that each observation is encoded once.
        keep_episodes: how many of the newest episodes are kept with their pictures, uint8, for `to_lerobot_dataset`.
    """

    def __init__(  # noqa: PLR0917  # LeRobot's signature
        self, capacity: int, device: str = "cuda:0", state_keys: Sequence[str] | None = None,
        image_augmentation_function: Callable[[Tensor], Tensor] | None = None, use_drq: bool | None = None,
        storage_device: str = "cpu", optimize_memory: bool = True, *,  # noqa: ARG002
        features: FrozenFeatures, keep_episodes: int = 0,
    ) -> None:  # fmt: skip
        if image_augmentation_function is not None:
            raise SettingError(
                "image_augmentation_function: pictures are shifted when stored: FrozenFeatures(shift=...)"
            )
        if use_drq is not None and use_drq != bool(features.views):
            raise SettingError(f"use_drq is {use_drq}, but {features.views} shifted views are stored: see views")
        super().__init__(
            capacity, device, state_keys, image_augmentation_function=lambda images: images,
            use_drq=bool(features.views), storage_device=storage_device, optimize_memory=True,
        )  # fmt: skip
        del self.episode_ends  # LeRobot allocates and never reads it
        self.features, self.kept = features, KeptEpisodes(keep_episodes, features.image_keys)
        self._apart: dict[int, Row] = {}  # by slot: the next observation, where it isn't the next slot's
        self._following: Row | None = None  # the newest step's next observation
        self._lock = threading.RLock()  # `add` takes it around LeRobot's, which takes it too

    def _initialize_storage(self, state: Row, action: Tensor, complementary_info: Info = None) -> None:
        super()._initialize_storage({}, action, complementary_info)
        for key, row in state.items():
            shape, dtype = (self.capacity, *row.shape[1:]), row.dtype
            self.states[key] = torch.empty(shape, dtype=dtype, device=self.storage_device)

    def add(  # noqa: PLR0917  # LeRobot's signature
        self, state: Row, action: Tensor, reward: float, next_state: Row, done: bool, truncated: bool,
        complementary_info: Info = None,
    ) -> None:  # fmt: skip
        """Encode and store one transition, each of its tensors with a batch axis of 1."""
        row, following = self.features.row(state), self.features.row(next_state)
        with self._lock:
            if not self.initialized:
                self._initialize_storage(row, action, complementary_info)
            slot = self.position
            if self._following is row:  # `features` returns the same object where the observations are equal
                self._apart.pop((slot - 1) % self.capacity)
            super().add(row, action, reward, following, done, truncated, complementary_info)
            self._apart[slot], self._following = _moved(following, self.storage_device), following
            self.kept.add(state, action, reward, done, truncated, complementary_info)

    def sample(self, batch_size: int) -> BatchTransition:
        """Return a random batch as LeRobot's, with feature maps in place of pictures."""
        if not self.initialized:
            raise RuntimeError("Cannot sample from an empty buffer. Add transitions first.")
        with self._lock:
            size = min(batch_size, self.size)
            index = torch.randint(low=0, high=self.size, size=(size,), device=self.storage_device)
            now, following = self._gather(index), self._gather_next(index)
            rest = {key: value[index] for key, value in self.complementary_info.items()}
            batch = BatchTransition(
                state={},
                action=self.actions[index].to(self.device),
                reward=self.rewards[index].to(self.device),
                next_state={},
                done=self.dones[index].to(self.device).float(),
                truncated=self.truncateds[index].to(self.device).float(),
                complementary_info=_moved(rest, self.device) if self.has_complementary_info else None,
            )
        batch["state"] = self.features.batch(_moved(now, self.device))
        batch["next_state"] = self.features.batch(_moved(following, self.device))
        return batch

    def _gather(self, index: Tensor) -> Row:
        views = self._views(len(index))
        return {key: rows[index, views[key]] if key in views else rows[index] for key, rows in self.states.items()}

    def _gather_next(self, index: Tensor) -> Row:
        views = self._views(len(index))
        after = (index + 1) % self.capacity
        rows = {key: each[after, views[key]] if key in views else each[after] for key, each in self.states.items()}
        for place, slot in enumerate(index.tolist()):
            for key, value in self._apart.get(slot, {}).items():
                rows[key][place] = value[0, views[key][place]] if key in views else value[0]
        return rows

    def _views(self, size: int) -> dict[str, Tensor]:
        """Return for each map which of its views to take [B]; an int8 map and its range are of the same view."""
        num_views, device = max(1, self.features.views), self.storage_device
        drawn: dict[str, Tensor] = {}
        for key in self.features.image_keys:
            if num_views > 1:
                drawn[key] = torch.randint(num_views, (size,), device=device)
            else:
                drawn[key] = torch.zeros(size, dtype=torch.int64, device=device)
        return {key: drawn[picture_of(key)] for key in self.states if self.features.is_map(key)}

    @property
    def bytes_per_step(self) -> int:
        """Return the bytes of a stored step: observation, action, reward, ends and complementary numbers."""
        columns = [*self.states.values(), self.actions, self.rewards, self.dones, self.truncateds]
        return sum(each[0].nbytes for each in [*columns, *self.complementary_info.values()])

    @classmethod
    def from_lerobot_dataset(  # noqa: PLR0917  # LeRobot's signature
        cls, lerobot_dataset: LeRobotDataset, device: str = "cuda:0", state_keys: Sequence[str] | None = None,
        capacity: int | None = None, image_augmentation_function: Callable[[Tensor], Tensor] | None = None,
        use_drq: bool | None = None, storage_device: str = "cpu", optimize_memory: bool = True, *,
        features: FrozenFeatures, keep_episodes: int = 0,
    ) -> Self:  # fmt: skip
        """Return a buffer of a dataset's steps, encoded one by one: the dataset is never in memory as a whole.

        Raises:
            ValueError: no `state_keys`, or more steps than `capacity`.
        """
        if state_keys is None:
            raise ValueError("State keys must be provided when converting LeRobotDataset to Transitions.")
        capacity = len(lerobot_dataset) if capacity is None else capacity
        if capacity < len(lerobot_dataset):
            raise ValueError(
                f"the dataset has {len(lerobot_dataset)} steps, more than the buffer's capacity of {capacity}: raise "
                "policy.offline_buffer_capacity, or for online steps policy.online_buffer_capacity"
            )
        buffer = cls(
            capacity, device, state_keys, image_augmentation_function, use_drq, storage_device, optimize_memory,
            features=features, keep_episodes=keep_episodes,
        )  # fmt: skip
        for transition in transitions_of(lerobot_dataset, state_keys):
            buffer.add(**transition)
        return buffer

    def to_lerobot_dataset(
        self, repo_id: str, fps: int = 1, root: Any = None, task_name: str = "from_replay_buffer"
    ) -> LeRobotDataset:
        """Write the kept episodes, the newest `keep_episodes`, as a dataset, with LeRobot's own writer.

        Raises:
            SettingError: no pictures are kept.
        """
        with self._lock:
            plain = self.kept.as_lerobot_buffer()
        return plain.to_lerobot_dataset(repo_id, fps=fps, root=root, task_name=task_name)

    def state_dict(self) -> dict[str, Any]:
        """Return the stored steps, oldest first, and the digest of the encoder that they belong to."""
        with self._lock:
            return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Fill this new buffer with the newest steps of `state_dict`'s that fit.

        Raises:
            SettingError: the features are another encoder's, or stored in another dtype or number of views.
        """
        with self._lock:
            load_state(self, state)


def _moved(rows: Mapping[str, Tensor], device: str) -> Row:
    return {key: value.to(device) for key, value in rows.items()}
