"""What a name in the settings stands for: seer's own entries, and those that installed packages bring.

A package announces an entry in its `pyproject.toml`, under the registry's group; it is imported when it is asked for:

    [project.entry-points."seer.agents"]
    ppo = "my_package.ppo:SPEC"
"""

import difflib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

from seer.errors import SettingError, shortened
from seer.fields import Value

Actions = Literal["discrete", "continuous"]
"""What an agent can take, and an environment asks for."""

Settings = Mapping[str, Value]
"""Changes to settings by dotted name of the field in `Config`: {"steps": 100_000, "freeze.at": "never"}."""


class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str: ...


Spec = TypeVar("Spec", bound=Named)


class Registry(Generic[Spec]):
    """Specifications by name.

    Args:
        setting: the flag whose value the names are, for messages.
        group: entry points of installed packages that belong here.
    """

    def __init__(self, setting: str, group: str, specs: Iterable[Spec]) -> None:
        self._setting, self._group = setting, group
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
        """Return the entry of this name.

        Raises:
            SettingError: there is none, or the package that announces it can't be imported.
        """
        if name in self._specs:
            return self._specs[name]
        announced, known = _announced(self._group), self.names()
        if name not in announced:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise SettingError(f"{self._setting} {name!r} is unknown; {meant}use one of {', '.join(known)}")
        try:
            spec: Spec = announced[name].load()
        except Exception as error:  # whatever a third party's code raises
            raise SettingError(f"{self._setting} {name}: its package can't be loaded ({shortened(error)})") from error
        return self._specs.setdefault(name, spec)


@cache
def _announced(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {each.name: each for each in importlib.metadata.entry_points(group=group)}


def resolve(reference: Callable[..., Any] | str) -> Any:
    """Return what "module:name" names; anything but a text is returned as it is.

    A specification names code so, in place of importing it, where that would load PyTorch or a simulator.
    """
    return pkgutil.resolve_name(reference) if isinstance(reference, str) else reference
