"""The common part of a logger's outputs."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from seer.errors import SettingError

Record = dict[str, Any]
State = dict[str, Any]
MOMENT = ("step", "frames", "flops", "wall_seconds")
"""Keys of every record that say when it was made, beside its kind and its metrics."""


class Output:
    """Send a run's records to a place; a subclass overrides the methods that its place needs.

    Calls come in this order: `open`, then `record`, `say`, `advance` and `state_dict` in any order, then `close`.

    Args:
        folder: the run's.
        config: its settings, as JSON.
    """

    name: ClassVar[str]
    """Key in checkpoints and, of those in `OUTPUTS`, name in `--log`."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, config

    def open(self, state: State, *, after: int | None) -> None:
        """Begin to write a new run (`after` is None), or go on with one from `state`, as `state_dict` gave it.

        Forget records later than that state; `after` is the step of the last one that stays. `state` is empty where the
        run had no such output before. SettingError where the place can't be written, or holds another run.
        """

    def record(self, record: Record) -> None:
        """Write one record: plain JSON values by name, the keys "kind" and `MOMENT` among them."""

    def say(self, line: str) -> None:
        """Show one line."""

    def advance(self, task: str, done: int, total: int, status: str = "") -> None:
        """Show how far a task is."""

    def state_dict(self) -> State:
        """Return the state that `open` needs of a checkpoint, once all records so far are safe."""
        return {}

    def summary(self) -> dict[str, Any]:
        """Return entries for summary.json."""
        return {}

    def close(self) -> None:
        """Finish writing; called also where `open` failed."""


def scalars(record: Record) -> dict[str, float]:
    """Return a record's own numbers by tag: {"train/loss": 0.5}."""
    return {
        f"{record['kind']}/{name}": value
        for name, value in record.items()
        if name not in MOMENT and isinstance(value, int | float) and not isinstance(value, bool)
    }


def import_extra(name: str) -> ModuleType:
    """Import the package that an output needs; SettingError where it isn't installed, with the extra of its name."""
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        missing: object = error
    else:
        if package.__file__ is not None:  # a folder that is called so, `wandb` of another run for one, has no file
            return package
        missing = f"{name} is a folder here"
    raise SettingError(f"--log {name} needs the extra: pip install 'seer-rl[{name}]' ({missing})") from None
