"""The newest episodes with their pictures, as far as a dataset is asked for."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from lerobot.rl.buffer import ReplayBuffer
from torch import Tensor

from seer.errors import SettingError
from seer.integrations.lerobot.features import as_float

Step = dict[str, Tensor]  # "state/<key>", "info/<key>", action, reward, done, truncated; each without a batch axis


class KeptEpisodes:
    """The newest episodes, pictures as uint8.

    Args:
        most: episodes to keep, besides the one that goes on; 0 keeps nothing.
        image_keys: observations that are pictures.
    """

    def __init__(self, most: int, image_keys: list[str]) -> None:
        if most < 0:
            raise SettingError(f"keep_episodes is {most}: keep 0, for no pictures, or more")
        self.most, self._image_keys = most, image_keys
        self._episodes: deque[list[Step]] = deque([[]], maxlen=most + 1)

    def add(  # noqa: PLR0917  # in the order of the buffer's
        self, state: Mapping[str, Tensor], action: Tensor, reward: float, done: bool, truncated: bool,
        info: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        """Keep one step of a buffer's `add`."""
        if not self.most:
            return
        step = {f"state/{key}": self._kept(key, value.squeeze(0)) for key, value in state.items()}
        step |= {f"info/{key}": torch.as_tensor(value).squeeze(0).float().cpu() for key, value in (info or {}).items()}
        step |= {"action": action.squeeze(0).cpu(), "reward": torch.as_tensor(reward, dtype=torch.float32)}
        step |= {"done": torch.as_tensor(bool(done)), "truncated": torch.as_tensor(bool(truncated))}
        self._episodes[-1].append({key: value.clone() for key, value in step.items()})
        if done or truncated:
            self._episodes.append([])

    def __len__(self) -> int:
        """Return the kept steps."""
        return sum(map(len, self._episodes))

    def as_lerobot_buffer(self) -> ReplayBuffer:
        """Return the kept steps as a buffer of LeRobot's own, which writes datasets.

        Raises:
            SettingError: nothing is kept.
        """
        steps = [step for episode in self._episodes for step in episode]
        if not steps:
            raise SettingError(
                "no pictures are kept for a dataset: set keep_episodes to how many newest episodes to keep"
            )
        columns = {key: torch.stack([step[key] for step in steps]) for key in steps[0]}
        buffer = ReplayBuffer(len(steps), "cpu", image_augmentation_function=lambda images: images)
        buffer.states = {key.removeprefix("state/"): each for key, each in columns.items() if key.startswith("state/")}
        buffer.complementary_info = {
            key.removeprefix("info/"): each for key, each in columns.items() if key.startswith("info/")
        }
        buffer.complementary_info_keys = list(buffer.complementary_info)
        buffer.has_complementary_info = bool(buffer.complementary_info)
        buffer.actions, buffer.rewards = columns["action"], columns["reward"]
        buffer.dones, buffer.truncateds = columns["done"], columns["truncated"]
        buffer.size, buffer.initialized = len(steps), True
        return buffer

    def state_dict(self) -> dict[str, Any]:
        """Return the kept episodes, each as columns."""
        episodes = [episode for episode in self._episodes if episode]
        return {
            "most": self.most,
            "episodes": [{key: torch.stack([each[key] for each in steps]) for key in steps[0]} for steps in episodes],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`'s, with the newest of its episodes where it has more."""
        self._episodes = deque([[]], maxlen=self.most + 1)
        for columns in state["episodes"] if self.most else []:
            steps = [{key: each[place] for key, each in columns.items()} for place in range(len(columns["done"]))]
            self._episodes[-1].extend(steps)
            if bool(steps[-1]["done"]) or bool(steps[-1]["truncated"]):
                self._episodes.append([])

    def _kept(self, key: str, value: Tensor) -> Tensor:
        value = value.cpu()
        if key not in self._image_keys or value.dtype == torch.uint8:
            return value
        return (as_float(value).clamp(0, 1) * 255).round().to(torch.uint8)
