"""The plug-in's own settings: flags `--seer.*` beside LeRobot's."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from seer.errors import SettingError
from seer.integrations.lerobot.codec import dtype_of

PREFIX = "--seer."


@dataclass(frozen=True)
class Options:
    """What is stored; each field's help stands with it."""

    dtype: str = field(default="float16", metadata={"help": "of the stored feature maps: float16, float32 or int8"})
    views: int = field(
        default=2, metadata={"help": "randomly shifted copies of each picture that are stored; 0: the picture itself"}
    )
    keep_episodes: int = field(
        default=0, metadata={"help": "newest online episodes whose pictures are kept, for LeRobot's dataset"}
    )

    def __post_init__(self) -> None:
        dtype_of(self.dtype)
        for name in ("views", "keep_episodes"):
            if getattr(self, name) < 0:
                raise SettingError(f"{PREFIX}{name} is {getattr(self, name)}: give 0 or more")


def help_text() -> str:
    """Return the flags with their defaults, for the end of LeRobot's own help."""
    lines = [f"  {PREFIX}{each.name}={each.default}  {each.metadata['help']}" for each in dataclasses.fields(Options)]
    return "\n".join(["seer, stored features:", *lines])


def take_flags(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that `--seer.<name>=<value>` flags give, and the other arguments, which are LeRobot's.

    Raises:
        SettingError: a name or a value that isn't one.
    """
    given: dict[str, Any] = {}
    others: list[str] = []
    waiting = iter(arguments)
    kinds = {field.name: field.type for field in dataclasses.fields(Options)}
    for argument in waiting:
        if not argument.startswith(PREFIX):
            others.append(argument)
            continue
        name, is_joined, value = argument.removeprefix(PREFIX).partition("=")
        if name not in kinds:
            raise SettingError(f"{PREFIX}{name} is no setting: {', '.join(PREFIX + each for each in kinds)}")
        value = value if is_joined else next(waiting, "")
        try:
            given[name] = value if kinds[name] in (str, "str") else int(value)
        except ValueError:
            raise SettingError(f"{PREFIX}{name} is {value!r}, not a whole number") from None
    Options(**given)
    return given, others
