"""Keyword arguments of an environment, as `--env-kwargs` takes them: KEY=VALUE, or a JSON object."""

import json
import math
from collections.abc import Iterable
from typing import Any

from seer.errors import SettingError

INSTEAD = {"render_mode": "--render-pixels", "max_episode_steps": "--max-episode-steps"}
"""Arguments of `gymnasium.make` that flags stand for."""

GYMNASIUM = ("id", "disable_env_checker", "vectorization_mode")
"""Arguments of `gymnasium.make` that aren't the environment's."""

WORDS = {"True": True, "False": False, "None": None}
"""What Python writes otherwise than JSON."""


def parse_kwargs(words: Iterable[str]) -> dict[str, Any]:
    """Return the arguments: JSON values, and texts where that is no JSON (`map_name=8x8`; `version='"1"'` is one too).

    Raises:
        SettingError: they are neither KEY=VALUE nor a JSON object, one is given twice, or a flag is there for it.
    """
    kwargs: dict[str, Any] = {}
    for word in words:
        for key, value in _pairs(word):
            if key in kwargs:
                raise SettingError(f"--env-kwargs gives {key} twice; give it once")
            if key in INSTEAD:
                raise SettingError(f"--env-kwargs {key}: {INSTEAD[key]} is there for it; use that")
            if not key.isidentifier() or key in GYMNASIUM:
                raise SettingError(f"--env-kwargs {key[:40]!r} is no argument of an environment; leave it out")
            kwargs[key] = value
    return kwargs


def in_one_form(words: Iterable[str]) -> tuple[str, ...]:
    """Return the same arguments in the form in which settings keep them: KEY=JSON, sorted."""
    return tuple(f"{key}={json.dumps(value)}" for key, value in sorted(parse_kwargs(words).items()))


def _pairs(word: str) -> list[tuple[str, Any]]:
    if word.lstrip().startswith("{"):
        try:
            return list(_loads(word).items())
        except (ValueError, RecursionError) as error:
            raise SettingError(f"--env-kwargs {word[:80]!r} is no JSON object ({error}); or write KEY=VALUE") from None
    key, equals, value = word.partition("=")
    if not equals:
        raise SettingError(f"--env-kwargs {word[:80]!r} has no value; write KEY=VALUE, such as continuous=false")
    if value in WORDS:
        return [(key, WORDS[value])]
    try:
        return [(key, _loads(value))]
    except (ValueError, RecursionError):
        return [(key, value)]


def _loads(text: str) -> Any:
    """Return what JSON says; ValueError for numbers that it can't write, such as NaN, or 1e999, which is infinite."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(word: str) -> float:
    if not math.isfinite(float(word)):
        raise ValueError(f"{word} is no JSON")
    return float(word)
