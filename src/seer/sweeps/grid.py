"""Grids: environments x groups of settings x seeds, from a TOML file, to trials.

envs = ["ALE/Alien-v5", "ALE/Qbert-v5"]
seeds = 3                         # 0, 1, 2; or a list

[settings]                        # flags of `seer train`, for all runs
steps = 100000

[per-env."ALE/Qbert-v5"]          # for one environment; overrides [settings]
freeze-at = 20000

[arms.seer]                       # the groups that are compared; overrides both
[arms.never]
freeze-at = "never"
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seer.core.freeze_rules import parse_freeze_at
from seer.errors import SettingError
from seer.flags import read_settings
from seer.registry import Settings
from seer.settings import resolve
from seer.sweeps.trial import Trial, naming

NAMED_OTHERWISE = {"env": "envs", "seed": "seeds", "out": "--out"}
"""Settings of a run that a grid gives by other names."""


@dataclass(frozen=True)
class Grid:
    """Environments x groups x seeds; a group's settings override an environment's, and those the common ones."""

    envs: Sequence[str]
    seeds: Sequence[int] = (0,)
    groups: Mapping[str, Settings] = field(default_factory=lambda: {"default": {}})
    settings: Settings = field(default_factory=dict)
    per_env: Mapping[str, Settings] = field(default_factory=dict)

    def trials(self, last: Settings | None = None, *, threads: int = 1) -> list[Trial]:
        """Return one trial per environment, group and seed; seed by seed, so that every group has a first result early.

        `last` overrides what the grid says; `threads` is for runs whose settings don't say how many.

        Raises:
            SettingError: the grid is empty, names one run twice, or a run's settings are wrong.
        """
        last = last or {}
        for name, instead in (("env", "--envs"), ("seed", "--seeds"), ("out", "--out, before the --,")):
            if name in last:
                raise SettingError(f"--{name} would make all runs the same one: use {instead} of the sweep")
        if not (self.envs and self.seeds and self.groups):
            raise SettingError("the grid is empty: give at least one of envs, seeds and arms")
        for group in self.groups:
            if not re.fullmatch(r"[A-Za-z0-9_.+-]+", group):
                raise SettingError(f"arm {group!r} names folders: use letters, digits and any of _.+-")
        named: dict[str, tuple[str, str, int]] = {}
        for seed in self.seeds:
            for env in self.envs:
                for group in self.groups:
                    name = f"{short_name(env)}-{group}-{seed}"
                    if name in named:
                        raise SettingError(f"the grid has {name} twice: give every environment, arm and seed once")
                    named[name] = env, group, seed
        first = {"threads": threads, **self.settings}
        return [
            make_trial(env, group, seed, {**first, **self.per_env.get(env, {}), **self.groups[group], **last})
            for env, group, seed in named.values()
        ]


def make_trial(env: str, group: str, seed: int, settings: Settings, *, after: str | None = None) -> Trial:
    """Return the trial of a group in an environment.

    Raises:
        SettingError: its settings are wrong.
    """
    name = f"{short_name(env)}-{group}-{seed}"
    with naming(name):
        return Trial(name, env, group, seed, resolve(env, {**settings, "seed": seed}), after)


def read_grid(file: Path) -> Grid:
    """Read the grid in a TOML file.

    Raises:
        SettingError: the file can't be read, or says something else than a grid.
    """
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingError(f"{file} can't be read ({error.strerror}): give a TOML file of a grid") from error
    except ValueError as error:
        raise SettingError(f"{file} is no TOML ({error}): see the grid in the documentation of seer sweep") from error
    unknown = content.keys() - {"envs", "seeds", "settings", "per-env", "arms"}
    if unknown:
        raise SettingError(f"{file}: unknown {', '.join(sorted(unknown))}; use envs, seeds, settings, per-env, arms")
    envs, tables = content.get("envs", []), {name: content.get(name, {}) for name in ("settings", "per-env", "arms")}
    if not (isinstance(envs, list) and all(isinstance(env, str) for env in envs)):
        raise SettingError(f'{file}: envs has to be a list such as ["ALE/Alien-v5"]')
    inner = [each for name in ("per-env", "arms") if isinstance(tables[name], dict) for each in tables[name].values()]
    if not all(isinstance(table, dict) for table in (*tables.values(), *inner)):
        raise SettingError(f"{file}: settings, [per-env.ENV] and [arms.NAME] have to be tables of flags")
    stray = tables["per-env"].keys() - set(envs)
    if stray:
        raise SettingError(f"{file}: [per-env] speaks of {', '.join(sorted(stray))}, which envs has not")
    with naming(str(file)):
        return Grid(
            envs=envs,
            seeds=parse_seeds(content.get("seeds", 1)),
            groups={name: _typed(table) for name, table in tables["arms"].items()} or {"default": {}},
            settings=_typed(tables["settings"]),
            per_env={env: _typed(table) for env, table in tables["per-env"].items()},
        )


def make_grid(file: Path | None, *, envs: Sequence[str], seeds: Sequence[int], freeze_at: Sequence[str]) -> Grid:
    """Return the grid of a file, or none, with what the command line says instead.

    Raises:
        SettingError: as `read_grid`, or there is no environment.
    """
    if file is None and not envs:
        raise SettingError("nothing to train: give a grid file, or --envs, for example --envs ALE/Pong-v5")
    grid = Grid(envs=envs) if file is None else read_grid(file)
    return replace(
        grid,
        envs=envs or grid.envs,
        seeds=parse_seeds(seeds[0] if len(seeds) == 1 else list(seeds)) if seeds else grid.seeds,
        groups={_freeze_name(step): {"freeze.at": step} for step in freeze_at} if freeze_at else grid.groups,
    )


def _freeze_name(step: str) -> str:
    return step if parse_freeze_at(step).is_never else f"freeze-{step}"


def parse_seeds(seeds: Any) -> list[int]:
    """Return the seeds that are given, or as many from 0 as the number says.

    Raises:
        SettingError: neither.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return list(range(seeds))
    if isinstance(seeds, list) and seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        return seeds
    raise SettingError(f"seeds {seeds!r}: give a number of seeds, or a list such as [0, 1, 2]")


def _typed(table: Mapping[str, Any]) -> Settings:
    """Return a table of the file as settings: {"freeze-at": 2000} -> {"freeze.at": "2000"}."""
    return read_settings(table_to_flags(table))


def table_to_flags(table: Mapping[str, Any]) -> list[str]:
    """Return a table as flags: freeze_at = "never" -> --freeze-at never, prioritized = false -> --no-prioritized.

    Raises:
        SettingError: a setting that the grid gives by another name, or a value that is no flag's.
    """
    flags: list[str] = []
    for name, value in table.items():
        flag = name.replace("_", "-")
        if flag in NAMED_OTHERWISE:
            raise SettingError(f"{name} is no setting of a grid: use {NAMED_OTHERWISE[flag]}")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str | int | float):
            flags += [f"--{flag}", str(value)]
        else:
            raise SettingError(f"{name} = {value!r}: a setting is a text, a number, true or false")
    return flags


def short_name(env: str) -> str:
    """Return an environment's name fit for a file's: ALE/Alien-v5 -> Alien."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", re.sub(r"-v\d+$", "", env.rpartition("/")[2]))
