"""Grids: environments x arms x seeds, from a TOML file, to trials.

envs = ["ALE/Alien-v5", "ALE/Qbert-v5"]
seeds = 3                         # 0, 1, 2; or a list

[settings]                        # flags of `seer train`, for all runs
steps = 100000

[per-env."ALE/Qbert-v5"]          # for one environment; overrides [settings]
freeze-at = 20000

[arms.seer]                       # what is compared; overrides both
[arms.never]
freeze-at = "never"
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seer.errors import SettingError
from seer.sweeps.trial import Trial

Settings = Mapping[str, str | int | float | bool]
OWN_SETTINGS = {"env": "envs", "seed": "seeds", "out": "--out"}  # that a grid gives by other names


@dataclass(frozen=True)
class Grid:
    """Environments x arms x seeds; an arm's settings override an environment's, and those the common ones."""

    envs: Sequence[str]
    seeds: Sequence[int] = (0,)
    arms: Mapping[str, Settings] = field(default_factory=lambda: {"default": {}})
    settings: Settings = field(default_factory=dict)
    per_env: Mapping[str, Settings] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        """One trial per environment, arm and seed; seed by seed, so that every arm has a first result early.

        Raises:
            SettingError: the grid is empty, or names one run twice.
        """
        if not (self.envs and self.seeds and self.arms):
            raise SettingError("the grid is empty: give at least one of envs, seeds and arms")
        trials = [self._trial(env, arm, seed) for seed in self.seeds for env in self.envs for arm in self.arms]
        for arm in self.arms:
            if not re.fullmatch(r"[A-Za-z0-9_.+-]+", arm):
                raise SettingError(f"arm {arm!r} names folders: use letters, digits and any of _.+-")
        names = [trial.name for trial in trials]
        for name in names:
            if names.count(name) > 1:
                raise SettingError(f"the grid has {name} twice: give every environment, arm and seed once")
        return trials

    def _trial(self, env: str, arm: str, seed: int) -> Trial:
        settings = {**self.settings, **self.per_env.get(env, {}), **self.arms[arm]}
        flags = ("--env", env, "--seed", str(seed), *flags_of(settings))
        return Trial(name=f"{short_name(env)}-{arm}-{seed}", env=env, arm=arm, seed=seed, flags=flags)


def read_grid(file: Path) -> Grid:
    """The grid in a TOML file.

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
    groups = [each for name in ("per-env", "arms") if isinstance(tables[name], dict) for each in tables[name].values()]
    if not all(isinstance(table, dict) for table in (*tables.values(), *groups)):
        raise SettingError(f"{file}: settings, [per-env.ENV] and [arms.NAME] have to be tables of flags")
    stray = tables["per-env"].keys() - set(envs)
    if stray:
        raise SettingError(f"{file}: [per-env] speaks of {', '.join(sorted(stray))}, which envs has not")
    return Grid(
        envs=envs,
        seeds=parse_seeds(content.get("seeds", 1)),
        arms=tables["arms"] or {"default": {}},
        settings=tables["settings"],
        per_env=tables["per-env"],
    )


def make_grid(file: Path | None, *, envs: Sequence[str], seeds: Sequence[int], freeze_at: Sequence[str]) -> Grid:
    """The grid of a file, or none, with what the command line says instead.

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
        arms={_freeze_name(step): {"freeze-at": step} for step in freeze_at} if freeze_at else grid.arms,
    )


def _freeze_name(step: str) -> str:
    return step if step == "never" else f"freeze-{step}"


def parse_seeds(seeds: Any) -> list[int]:
    """A number of seeds, or the seeds themselves.

    Raises:
        SettingError: neither.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return list(range(seeds))
    if isinstance(seeds, list) and seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        return seeds
    raise SettingError(f"seeds {seeds!r}: give a number of seeds, or a list such as [0, 1, 2]")


def flags_of(settings: Settings) -> list[str]:
    """Settings as flags: freeze_at = "never" -> --freeze-at never, prioritized = false -> --no-prioritized.

    Raises:
        SettingError: a setting that the grid gives by another name, or a value that is no flag's.
    """
    flags: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if flag in OWN_SETTINGS:
            raise SettingError(f"{name} is no setting of a grid: use {OWN_SETTINGS[flag]}")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str | int | float):
            flags += [f"--{flag}", str(value)]
        else:
            raise SettingError(f"{name} = {value!r}: a setting is a text, a number, true or false")
    return flags


def override(flags: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The flags with these settings in place of what they say about the same ones."""
    gone = {f"--{prefix}{name}" for name in settings for prefix in ("", "no-")}
    kept: list[str] = []
    dropping = False
    for part in flags:
        if part.startswith("--"):
            dropping = part in gone
        if not dropping:
            kept.append(part)
    return (*kept, *flags_of(settings))


def short_name(env: str) -> str:
    """ALE/Alien-v5 -> Alien, dm_control/cartpole-swingup-v0 -> cartpole-swingup: fit for a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", re.sub(r"-v\d+$", "", env.rpartition("/")[2]))
