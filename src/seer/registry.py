"""Find what a name in the settings stands for: an entry of seer, of an installed package, or of any module.

A package announces an entry in its `pyproject.toml`, under the registry's group; it is imported when it is asked for:

    [project.entry-points."seer.agents"]
    ppo = "my_package.ppo:SPEC"

A registry with `places` also takes MODULE:NAME, "my_package.ppo:SPEC", with no announcement.
"""

import dataclasses
import importlib.metadata
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

from seer.errors import SettingError, did_you_mean, shortened
from seer.fields import Value

Actions = Literal["discrete", "continuous"]
"""The kind of actions that an agent takes, or an environment asks for."""

Settings = Mapping[str, Value]
"""Changes to settings by dotted name of the field in `Config`: {"steps": 100_000, "freeze.at": "never"}."""


PLACE = re.compile(r"(\w+\.)*\w+:\w+")
"""MODULE:NAME, such as my_package.ppo:SPEC."""


class Named(Protocol):
    """A dataclass with a name, which a registry holds."""

    @property
    def name(self) -> str: ...


Spec = TypeVar("Spec", bound=Named)


class Registry(Generic[Spec]):
    """Hold specifications by name.

    Args:
        setting: the flag whose value the names are, for messages.
        group: entry points of installed packages that belong here.
        places: the class of specifications that may also be named as MODULE:NAME; by default none may.
    """

    def __init__(self, setting: str, group: str, specs: Iterable[Spec], *, places: type[Spec] | None = None) -> None:
        self._setting, self._group, self._places = setting, group, places
        self._specs = {spec.name: spec for spec in specs}

    def register(self, spec: Spec) -> None:
        """Add an entry for this process.

        Raises:
            ValueError: the name is taken.
        """
        if spec.name in self.names():
            raise ValueError(f"{spec.name!r} is registered already: choose another name")
        self._specs[spec.name] = spec

    def names(self) -> list[str]:
        """Return the names of all entries, seer's own first; nothing is imported for it."""
        return list(dict.fromkeys([*self._specs, *sorted(_announced(self._group))]))

    def specs(self) -> Iterator[Spec]:
        """Give every entry whose package can be imported."""
        for name in self.names():
            with suppress(SettingError):
                yield self[name]

    def __getitem__(self, name: str) -> Spec:
        """Return the entry of this name; one that is named by its place has that place as its name.

        Raises:
            SettingError: there is none, or its module can't be imported.
        """
        if name in self._specs:
            return self._specs[name]
        if self._places is not None and PLACE.fullmatch(name):
            return self._at(name, self._places)
        announced, known = _announced(self._group), self.names()
        if name not in announced:
            choices = ", ".join(known) + ", or MODULE:NAME" * (self._places is not None)
            meant = did_you_mean(name, known)
            raise SettingError(f"{self._setting} {name!r} is unknown; {meant}use one of {choices}")
        try:
            spec: Spec = announced[name].load()
        except Exception as error:  # whatever a third party's code raises
            raise SettingError(f"{self._setting} {name}: its package can't be loaded ({shortened(error)})") from error
        return self._specs.setdefault(name, spec)

    def _at(self, place: str, kind: type[Spec]) -> Spec:
        """Return the specification that a module holds, under the name `place`, by which a run finds it again."""
        wanted = f"name an {kind.__name__} as MODULE:NAME"
        found = imported(place, setting=self._setting, remedy=wanted)
        if not isinstance(found, kind):
            raise SettingError(f"{self._setting} {place} is of class {type(found).__name__}; {wanted}")
        return dataclasses.replace(found, name=place)  # type: ignore[type-var]


@cache
def _announced(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {each.name: each for each in importlib.metadata.entry_points(group=group)}


def resolve(reference: Callable[..., Any] | str) -> Any:
    """Import what "module:name" names, or raise SettingError; anything but a text is returned as it is.

    A specification names code so, in place of importing it, where that would load PyTorch or a simulator.
    """
    if not isinstance(reference, str):
        return reference
    return imported(reference, remedy="see to its module")


def imported(place: str, *, remedy: str, setting: str = "") -> Any:
    """Import what "module:name" names, perhaps as the value of a setting."""
    try:
        if ":" not in place:
            raise ValueError("it names a module alone")
        return pkgutil.resolve_name(place)
    except Exception as error:  # whatever runs at import
        told = f"{setting} {place}" if setting else repr(place)
        raise SettingError(f"{told} can't be imported ({shortened(error)}); {remedy}") from error
