"""The steps of a LeRobot dataset, one at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

from lerobot.datasets import LeRobotDataset
from lerobot.utils.constants import ACTION, DONE, REWARD
from torch import Tensor
from tqdm import tqdm

INFO = "complementary_info."


def transitions_of(dataset: LeRobotDataset, state_keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give each step as the arguments of a buffer's `add`; each frame of the dataset is read once.

    The rules are LeRobot's: where the dataset has no ends, an episode ends with its last frame; the next observation
    of an episode's last step is its own; no step counts as cut by a time limit.
    """
    following = dataset[0] if len(dataset) else {}
    for index in tqdm(range(len(dataset)), desc="Encoding", unit="step"):
        frame = following
        following = dataset[index + 1] if index + 1 < len(dataset) else {}
        goes_on = bool(following) and bool(following["episode_index"] == frame["episode_index"])
        done = bool(frame[DONE].item()) if DONE in frame else not goes_on
        info = {key.removeprefix(INFO): _batched(value) for key, value in frame.items() if key.startswith(INFO)}
        state = {key: frame[key].unsqueeze(0) for key in state_keys}
        yield {
            "state": state,
            ACTION: frame[ACTION].unsqueeze(0),
            "reward": float(frame[REWARD].item()),
            "next_state": {key: following[key].unsqueeze(0) for key in state_keys} if goes_on and not done else state,
            "done": done,
            "truncated": False,
            "complementary_info": info or None,
        }


def _batched(value: Any) -> Any:
    return value.unsqueeze(0) if isinstance(value, Tensor) else value
