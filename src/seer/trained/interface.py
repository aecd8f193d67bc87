"""The two ends of an agent, known without its environment: observations made of pictures, and actions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seer.core.packing import Packing
from seer.envs.actions import ActionTranslation, OwnSpace, translation_from_json
from seer.envs.base import PixelEnvironment
from seer.envs.pictures import ALL_VALUES, Bounds
from seer.errors import SettingError
from seer.trained.preparation import Preparation, SensorPreparation

LARGEST = {"stack": 64, "channels": 64, "side": 1024, "numbers": 1024}
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
    prepare: Preparation | SensorPreparation
    translation: ActionTranslation

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of a frame, (1, 1, P) of a packed one."""
        return self.prepare.frame_shape

    @property
    def packing(self) -> Packing | None:
        """Return the packing of cameras and vectors in a frame; None where it is one picture."""
        return self.prepare.packing if isinstance(self.prepare, SensorPreparation) else None

    @property
    def action_space(self) -> OwnSpace:
        """Return the agent's actions, from which its networks follow."""
        return self.translation.agent_space

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "stack": self.stack,
            **_frame_to_json(self.prepare),
            "preparation": self.prepare.account,
            "actions": self.translation.to_json(),
        }


def interface_of(environment: PixelEnvironment) -> Interface:
    """Return the interface of an environment's agents."""
    prepare: Preparation | SensorPreparation
    if environment.packing is None:
        prepare = Preparation(environment.frame_shape, environment.picture_bounds, environment.preparation)
    else:
        prepare = SensorPreparation(environment.packing, dict(environment.camera_bounds), environment.preparation)
    return Interface(environment.stack, prepare, environment.translation)


def interface_from_json(record: Mapping[str, Any]) -> Interface:
    """Return the interface that `to_json` wrote; SettingError where it is none."""
    try:
        stack = record["stack"]
        _refuse_wrong(stack=[stack])
        return Interface(stack, _prepare_from_json(record), translation_from_json(record["actions"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"the agent's interface can't be read ({error!r}): restore the file") from error


def _frame_to_json(prepare: Preparation | SensorPreparation) -> dict[str, Any]:
    if isinstance(prepare, Preparation):
        return {"frame_shape": list(prepare.frame_shape), "picture_bounds": list(prepare.bounds)}
    cameras = {
        name: {"frame_shape": list(shape), "picture_bounds": list(prepare.camera_bounds.get(name, ALL_VALUES))}
        for name, shape in prepare.packing.cameras.items()
    }
    vectors = dict(prepare.packing.vectors)
    order = {"cameras": list(cameras), "vectors": list(vectors)}  # for where a tool has sorted the keys
    return {"cameras": cameras, "vectors": vectors, "order": order}


def _prepare_from_json(record: Mapping[str, Any]) -> Preparation | SensorPreparation:
    account = str(record["preparation"])
    if "cameras" not in record:
        return Preparation(*_frame_from_json(record), account)
    frames = {str(name): _frame_from_json(each) for name, each in _in_order(record, "cameras")}
    vectors = {str(name): size for name, size in _in_order(record, "vectors")}
    _refuse_wrong(numbers=list(vectors.values()))
    bounds = {name: each for name, (_, each) in frames.items() if each != ALL_VALUES}
    return SensorPreparation(Packing({name: shape for name, (shape, _) in frames.items()}, vectors), bounds, account)


def _in_order(record: Mapping[str, Any], kind: str) -> Iterable[tuple[Any, Any]]:
    """Return the cameras or vectors by name, in the order of the frame's bytes, which older files don't list."""
    sensors: Mapping[Any, Any] = record[kind]
    if "order" not in record:
        return sensors.items()
    names = record["order"][kind]
    if sorted(names) != sorted(sensors):
        raise ValueError(f"order {names}")
    return ((name, sensors[name]) for name in names)


def _frame_from_json(record: Mapping[str, Any]) -> tuple[tuple[int, int, int], Bounds]:
    """Return shape and bounds of a picture's frame."""
    (channels, height, width), (low, high) = record["frame_shape"], record["picture_bounds"]
    _refuse_wrong(channels=[channels], side=[height, width])
    if {type(low), type(high)} != {int} or low >= high:
        raise ValueError("a number is wrong")
    return (channels, height, width), (low, high)


def _refuse_wrong(**sizes: list[Any]) -> None:
    """Raise ValueError where sizes of a kind of `LARGEST` are none, or larger."""
    for name, each in sizes.items():
        for size in each:
            if type(size) is not int:
                raise ValueError("a number is wrong")
            if not 0 < size <= LARGEST[name]:
                raise ValueError(f"{name} {size}")
