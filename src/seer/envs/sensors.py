"""Cameras and vectors in the observations of Gymnasium's environments: which there are, and which are seen.

Parts of a Dict within a Dict are called "outer/inner".
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seer.envs.pictures import View, is_picture, looks_stacked, picture_view, refuse_stacked, rendered_view
from seer.errors import RunError, SettingError

Found = TypeVar("Found")

ALL, NONE = "all", "none"
"""What `--vectors` says in place of names."""

WHOLE = "observation"
"""Name of an observation that isn't a Dict."""

MOST_NUMBERS = 1024
"""Of a vector; what has more is no joint state."""

LARGEST_SIDE = 1024
"""Of a camera's frames, in pixels."""


@dataclass(frozen=True)
class Vector:
    """Describe a vector of so many numbers, which `find` returns of an observation."""

    find: Callable[[Any], NDArray[Any]]
    size: int


@dataclass(frozen=True)
class Sensors:
    """Describe what is seen of an environment.

    Attributes:
        views: the pictures, by name.
        vectors: by name.
        left_out: other parts of the observations, each as a phrase for the start of a run.
    """

    views: dict[str, View]
    vectors: dict[str, Vector]
    left_out: list[str]


def sensors_of(
    env: gymnasium.Env[Any, Any], env_id: str, *, cameras: Sequence[str], vectors: Sequence[str], render_pixels: bool
) -> Sensors:
    """Return what is seen of an environment: all pictures and vectors, or those that are named.

    Args:
        cameras: "KEY" or "KEY=SIZE" of pictures.
        vectors: keys, or "all" or "none". None is the default with `render_pixels`, which shows what `env` draws.
    """
    parts = dict(_parts(env.observation_space))
    if render_pixels:
        views = {"rendered": rendered_view(env, env_id)}
    else:
        refuse_stacked(env, env_id)
        flags = [f"--cameras {' '.join(cameras)}"] * bool(cameras)
        flags += [f"--vectors {' '.join(vectors)}"] * (list(vectors) not in ([], [NONE]))
        if flags and not isinstance(env.observation_space, spaces.Dict):
            raise SettingError(f"{flags[0]}: observations of {env_id} have no keys; leave it out")
        views = dict(_views(parts, env.observation_space, cameras, env_id))
    found = {name: vector for name, part in parts.items() if (vector := _vector(name, *part)) is not None}
    described = {name: _described(name, space) for name, (space, _) in parts.items()}
    seen = chosen(found, vectors or [NONE if render_pixels else ALL], env_id, described)
    return Sensors(views, seen, [text for name, text in described.items() if name not in views | seen])


Part = tuple[spaces.Space[Any], Callable[[Any], Any]]
"""A part's space, and a function that finds it in an observation."""


def _parts(space: spaces.Space[Any], keys: tuple[str, ...] = ()) -> Iterator[tuple[str, Part]]:
    """Give the parts of an observation, by name."""
    if isinstance(space, spaces.Dict):
        for key, part in space.items():
            yield from _parts(part, (*keys, key))
    else:
        yield "/".join(keys) or WHOLE, (space, functools.partial(functools.reduce, operator.getitem, keys))


def _views(
    parts: dict[str, Part], space: spaces.Space[Any], cameras: Sequence[str], env_id: str
) -> Iterator[tuple[str, View]]:
    """Give the pictures that `--cameras` names, or all of them.

    Raises:
        SettingError: there is none, or none of that name, one is named twice, or the side of its frames is out of
            bounds.
    """
    pictures = {name: part for name, (part, _) in parts.items() if is_picture(part)}
    if not pictures:
        shown = " ".join(str(space).split())
        raise SettingError(
            f"--env {env_id} shows no picture (uint8, grey or RGB) but {shown}; "
            f"{looks_stacked(part for part, _ in parts.values())}--render-pixels lets the agent see what it draws"
        )
    named: set[str] = set()
    for text in cameras or pictures:
        name, size = _named(text, pictures, env_id)
        if name in named:
            raise SettingError(f"--cameras {' '.join(cameras)} names {name} twice; give it once")
        named.add(name)
        called = "its observation" if name == WHOLE else f"its observation {name!r}"
        yield name, picture_view(parts[name][1], pictures[name], called, env_id, size)


def _named(text: str, pictures: dict[str, Any], env_id: str) -> tuple[str, int | None]:
    """Return the picture that `--cameras` names, and the side of its frames if that says one."""
    if text in pictures:
        return text, None
    name, _, size = text.rpartition("=")
    if name not in pictures or not size.isdecimal():
        raise SettingError(f"--cameras {text}: the pictures of {env_id} are named {', '.join(pictures)}")
    if not 1 <= int(size) <= LARGEST_SIDE:
        raise SettingError(f"--cameras {text}: frames have 1 to {LARGEST_SIDE:,} pixels a side")
    return name, int(size)


def chosen(
    found: Mapping[str, Found], wanted: Sequence[str], env_id: str, others: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Found]:
    """Return those of an environment's vectors that `--vectors` names, or all of them.

    `others` describe parts of its observations that are no vectors, by name.

    Raises:
        SettingError: there is no such vector.
    """
    if list(wanted) == [NONE]:
        return {}
    if list(wanted) == [ALL]:
        return dict(found)
    for name in wanted:
        if name not in found:
            why = f", and {others[name]} is none" if name in others else ""
            there = f"the vectors of {env_id} are named {', '.join(found)}" if found else f"{env_id} has no vectors"
            raise SettingError(f"--vectors {name}: {there}{why}; all and none go alone")
    return {name: found[name] for name in wanted}


def _vector(name: str, space: spaces.Space[Any], find: Callable[[Any], Any]) -> Vector | None:
    """Return a part as a vector, a choice among a few as as many zeros and ones; None where it is no numbers."""
    match space:
        case spaces.Discrete() if space.n <= MOST_NUMBERS:
            count, start = int(space.n), int(space.start)
            return Vector(lambda seen: _one_hot(name, find(seen), count, start), count)
        case spaces.Box() | spaces.MultiBinary() if not is_picture(space) and space.dtype.kind in "biuf":
            size = math.prod(space.shape)
            return Vector(lambda seen: np.asarray(find(seen)), size) if 0 < size <= MOST_NUMBERS else None
    return None


def _one_hot(name: str, value: Any, count: int, start: int) -> NDArray[np.float32]:
    place = int(value) - start
    if not 0 <= place < count:
        raise RunError(f"its observation {name!r} is {value}, but its space says {start} to {start + count - 1}")
    one_hot: NDArray[np.float32] = np.eye(1, count, place, np.float32)[0]
    return one_hot


def _described(name: str, space: spaces.Space[Any]) -> str:
    kind = type(space).__name__
    return f"{name!r} ({kind} {list(space.shape)})" if space.shape else f"{name!r} ({kind})"
