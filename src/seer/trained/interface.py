"""The two ends of an agent, known without its environment: observations made of pictures, and actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seer.envs.actions import ActionTranslation, OwnSpace, translation_from_json
from seer.envs.base import PixelEnvironment
from seer.errors import SettingError
from seer.trained.preparation import Preparation

LARGEST = {"stack": 64, "channels": 64, "side": 1024}
"""Of an observation that a file describes."""


@dataclass(frozen=True)
class Interface:
    """Describe an agent's observations and actions.

    Attributes:
        stack: frames in an observation.
        prepare: from pictures to a frame.
        translation: from the agent's actions to the environment's own.
    """

    stack: int
    prepare: Preparation
    translation: ActionTranslation

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of a frame."""
        return self.prepare.frame_shape

    @property
    def action_space(self) -> OwnSpace:
        """Return the agent's actions, from which its networks follow."""
        return self.translation.agent_space

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "stack": self.stack,
            "frame_shape": list(self.frame_shape),
            "picture_bounds": list(self.prepare.bounds),
            "preparation": self.prepare.account,
            "actions": self.translation.to_json(),
        }


def interface_of(environment: PixelEnvironment) -> Interface:
    """Return the interface of an environment's agents."""
    prepare = Preparation(environment.frame_shape, environment.picture_bounds, environment.preparation)
    return Interface(environment.stack, prepare, environment.translation)


def interface_from_json(record: Mapping[str, Any]) -> Interface:
    """Return the interface that `to_json` wrote.

    Raises:
        SettingError: it is none.
    """
    try:
        stack, (channels, height, width), (low, high) = record["stack"], record["frame_shape"], record["picture_bounds"]
        sizes = {"stack": [stack], "channels": [channels], "side": [height, width]}
        wrong = [f"{name} {size}" for name, each in sizes.items() for size in each if not 0 < size <= LARGEST[name]]
        if wrong or {type(each) for each in (stack, channels, height, width, low, high)} != {int} or low >= high:
            raise ValueError(", ".join(wrong) or "a number is wrong")
        prepare = Preparation((channels, height, width), (low, high), str(record["preparation"]))
        return Interface(stack, prepare, translation_from_json(record["actions"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"the agent's interface can't be read ({error!r}): restore the file") from error
