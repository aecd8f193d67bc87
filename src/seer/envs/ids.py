"""Make environments of Gymnasium by their ids, or refuse them in one line that suggests another id."""

import difflib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import gymnasium

from seer.envs.kwargs import parse_kwargs
from seer.envs.registry import ENVIRONMENTS, EnvSpec
from seer.errors import SettingError, shortened
from seer.registry import resolve


def did_you_mean(env_id: str, known: Iterable[str], *, otherwise: str, cutoff: float = 0.6) -> str:
    """Return the end of the sentence that refuses `env_id`: the nearest of those known, else `otherwise`."""
    by_name = {bare_name(each): each for each in known}
    nearest = difflib.get_close_matches(bare_name(env_id), by_name, n=1, cutoff=cutoff)
    return f"; did you mean {by_name[nearest[0]]!r}?" if nearest else f"; {otherwise}"


def bare_name(env_id: str) -> str:
    """Return the name alone: the same for "ALE/SpaceInvaders-v5", "space_invaders", "SpaceInvadersNoFrameskip-v4"."""
    name = re.sub(r"(noframeskip|deterministic)?(-v\d+)?$", "", re.split("[/:]", env_id.lower())[-1])
    return re.sub(r"[^a-z0-9]", "", name)


def make(env_id: str, render_mode: str | None = None, kwargs: Sequence[str] = ()) -> gymnasium.Env[Any, Any]:
    """Make an environment of Gymnasium that has no protocol of its own here; `kwargs` as `--env-kwargs` takes them.

    Raises:
        SettingError: it can't be made or drawn, or is one of Atari's or DeepMind Control's under another name.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame would look for a screen, which nothing here is shown on
    suites = list(ENVIRONMENTS.specs())
    for suite in suites:
        if (refusal := resolve(suite.claims)(env_id)) is not None:
            raise SettingError(f"--env {env_id!r} {refusal}")
    options = parse_kwargs(kwargs) | ({"render_mode": render_mode} if render_mode else {})
    try:
        env = gymnasium.make(env_id, disable_env_checker=True, **options)  # PixelEnvironment watches it
    except gymnasium.error.UnregisteredEnv as error:  # its name, namespace or version
        raise SettingError(_unregistered(env_id, suites)) from error
    except Exception as error:  # whatever a third party's code raises
        given = f" with --env-kwargs {' '.join(kwargs)}" if kwargs else ""
        raise SettingError(f"--env {env_id!r}{given} can't be made ({shortened(error)})") from error
    modes = env.metadata.get("render_modes") or []
    if render_mode is not None and render_mode not in modes:
        raise SettingError(f"--render-pixels: {env_id} draws no {render_mode}, only {', '.join(modes) or 'nothing'}")
    return env


def atari_note(env: gymnasium.Env[Any, Any]) -> str:
    """Return the end of the account of a game that somebody registered anew; nothing for other environments."""
    import ale_py

    if not isinstance(env.unwrapped, ale_py.AtariEnv):
        return ""
    return (
        "; an Atari game as it was registered, without the paper's protocol (no-ops, lives, clipped rewards), which "
        "the ids of ALE have: --env ALE/Alien-v5"
    )


def _unregistered(env_id: str, suites: Sequence[EnvSpec]) -> str:
    """Return the line that refuses an id: the nearest of those known, or how to name the package."""
    refused = f"--env {env_id!r} isn't registered with Gymnasium"
    module, imported, name = env_id.rpartition(":")
    if imported:
        if _is_of_old_gym(module, name):
            return (
                f"{refused}: {module} registers with the old gym; register it with Gymnasium in a module of your own, "
                "wrapped by shimmy's GymV21CompatibilityV0 or GymV26CompatibilityV0 (pip install shimmy)"
            )
        own = [f"{module}:{spec.id}" for spec in gymnasium.registry.values() if _package(spec) == _root(module)]
        otherwise = f"{module} registers no environment of that name and version"
        return refused + did_you_mean(env_id, own, otherwise=otherwise, cutoff=0.75)
    package = re.split(r"[-/]", env_id)[0].lower()
    if re.fullmatch(r"[^:]+-v\d+", env_id) and package.isidentifier() and importlib.util.find_spec(package):
        return f"{refused}; did you mean '{package}:{env_id}', which imports {package} first?"
    listed = (known_id for suite in suites for known_id in resolve(suite.known_ids)())
    known: Iterable[str] = [*sorted(gymnasium.registry, key=lambda each: "/" not in each), *listed]
    examples = ", ".join(repr(suite.example) for suite in suites)
    shape = f"ids look like {examples} or, of a package that has to be imported first, 'package:{env_id[:40]}'"
    return refused + did_you_mean(env_id, known, otherwise=shape, cutoff=0.75)


def _is_of_old_gym(module: str, name: str) -> bool:
    """Return whether an imported module registers with gym, or would if that were installed."""
    gym = sys.modules.get("gym")
    registry = getattr(getattr(gym, "envs", None), "registry", {})
    if name in getattr(registry, "env_specs", registry):  # of gym below 0.26
        return True
    wanted: list[str] = []
    for package in importlib.metadata.packages_distributions().get(_root(module), []):
        with suppress(importlib.metadata.PackageNotFoundError):
            wanted += importlib.metadata.requires(package) or []
    return any(re.match(r"gym(?![\w-])", requirement) for requirement in wanted)


def _package(spec: Any) -> str:
    """Return the package that defines the environment of a specification."""
    entry = spec.entry_point
    return _root(entry if isinstance(entry, str) else getattr(entry, "__module__", "") or "")


def _root(module: str) -> str:
    return re.split(r"[.:]", module)[0]
