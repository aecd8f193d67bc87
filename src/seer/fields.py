"""Fields of the settings' dataclasses: the flag that each has, its type and its bounds."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Value = str | int | float | bool | tuple[str, ...] | None
"""Of a setting."""


@dataclass(frozen=True)
class Bounds:
    """The least and the most that a number may be; the default of the most is a slip of the pen."""

    at_least: float | None = None
    above: float | None = None
    at_most: float = 10**12
    words: str | None = None
    """Instead of naming the side that was passed."""

    def complaint(self, number: float) -> str | None:
        """Return what is wrong with a number, such as "must be more than 0"; NaN is within no bounds."""
        if self.above is not None and not number > self.above:
            return self.words or f"must be more than {self.above:,}"
        if self.at_least is not None and not number >= self.at_least:
            return self.words or f"must be {self.at_least:,} or more"
        if not number <= self.at_most:
            return self.words or f"must be {self.at_most:,} or less"
        return None


@dataclass(frozen=True)
class Flag:
    """The flag of a field, where it isn't the field's name, what stands for its value in the help, an older name."""

    name: str | None = None
    value: str | None = None
    alias: str | None = None


Count = Annotated[int, Bounds(above=0)]
OptionalCount = Annotated[int | None, Bounds(above=0)]
Positive = Annotated[float, Bounds(above=0)]
Fraction = Annotated[float, Bounds(at_least=0, at_most=1, words="must lie between 0 and 1")]


@dataclass(frozen=True)
class Field:
    """A setting: a field of `group`, by dotted name."""

    name: str
    flag: str
    kind: Any
    group: type
    bounds: Bounds | None
    shown_value: str | None
    alias: str | None = None

    def complaint(self, value: Any) -> str | None:
        """Return what is wrong with a value of its type, naming the flag."""
        wrong = None if self.bounds is None or value is None else self.bounds.complaint(value)
        return wrong and f"--{self.flag} {value} {wrong}"

    def takes(self, value: Any) -> bool:
        """Whether a value, as JSON gives it, is of the field's type."""
        return _is_of(value, self.kind)


def fields_of(group: type, prefix: str = "") -> Iterator[Field]:
    """Give the fields of a dataclass, those of nested dataclasses first."""
    hints = get_type_hints(group, include_extras=True)
    fields = sorted(dataclasses.fields(group), key=lambda field: not dataclasses.is_dataclass(hints[field.name]))
    for field in fields:
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint, f"{field.name}.")  # type: ignore[arg-type]
            continue
        notes: dict[type, Any] = {type(note): note for note in getattr(hint, "__metadata__", ())}
        flag: Flag = notes.get(Flag, Flag())
        yield Field(
            name=prefix + field.name,
            flag=flag.name or field.name.replace("_", "-"),
            kind=get_args(hint)[0] if notes else hint,
            group=group,
            bounds=notes.get(Bounds),
            shown_value=flag.value,
            alias=flag.alias,
        )


def value_of(settings: Any, name: str) -> Value:
    """Return the value of the field of this dotted name, such as "freeze.at"."""
    value: Value = functools.reduce(getattr, name.split("."), settings)
    return value


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(type(each) is str for each in value)
    if get_args(kind):  # int | None
        return any(_is_of(value, each) for each in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind
