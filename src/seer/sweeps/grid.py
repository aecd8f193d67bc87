"""Grids: environments x variants x seeds, from a TOML file, to trials.

envs = ["ALE/Alien-v5", "ALE/Qbert-v5"]
seeds = 3                         # 0, 1, 2; or a list

[settings]                        # flags of `seer train`, for all runs
steps = 100000

[per-env."ALE/Qbert-v5"]          # for one environment; overrides [settings]
freeze-at = 20000

[variants.seer]                   # what is compared; overrides both. [arms.seer] says the same
[variants.never]
freeze-at = "never"
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seer.core.freeze_rules import parse_freeze_at
from seer.errors import SettingError, naming
from seer.flags import read_settings
from seer.registry import Settings
from seer.settings import resolve
from seer.sweeps.trial import Trial

NAMED_OTHERWISE = {"env": "envs", "seed": "seeds", "out": "--out"}
"""Settings of a run that a grid gives by other names."""

TABLES = ("settings", "per-env", "variants")


@dataclass(frozen=True)
class Grid:
    """Environments x variants x seeds; a variant's settings override an environment's, and those the common ones."""

    envs: Sequence[str]
    seeds: Sequence[int] = (0,)
    variants: Mapping[str, Settings] = field(default_factory=lambda: {"default": {}})
    settings: Settings = field(default_factory=dict)
    per_env: Mapping[str, Settings] = field(default_factory=dict)

    def trials(self, last: Settings | None = None, *, threads: int = 1) -> list[Trial]:
        """Return a trial per environment, variant and seed; seed by seed, so that every variant has a result early.

        `last` overrides what the grid says; `threads` is for runs whose settings don't say how many. SettingError where
        the grid is empty, names one run twice, or a run's settings are wrong.
        """
        last = last or {}
        for name, instead in (("env", "--envs"), ("seed", "--seeds"), ("out", "--out, before the --,")):
            if name in last:
                raise SettingError(f"--{name} would make all runs the same one: use {instead} of the sweep")
        if not (self.envs and self.seeds and self.variants):
            raise SettingError("the grid is empty: give at least one of envs, seeds and variants")
        for variant in self.variants:
            if not re.fullmatch(r"[A-Za-z0-9_.+-]+", variant):
                raise SettingError(f"variant {variant!r} names folders: use letters, digits and any of _.+-")
        runs = [(env, variant, seed) for seed in self.seeds for env in self.envs for variant in self.variants]
        name, count = Counter(run_name(*run) for run in runs).most_common(1)[0]
        if count > 1:
            raise SettingError(f"the grid has {name} twice: give every environment, variant and seed once")
        first = {"threads": threads, **self.settings}
        return [
            make_trial(env, variant, seed, {**first, **self.per_env.get(env, {}), **self.variants[variant], **last})
            for env, variant, seed in runs
        ]


def make_trial(env: str, variant: str, seed: int, settings: Settings, *, after: str | None = None) -> Trial:
    """Return the trial of a variant in an environment; SettingError where its settings are wrong."""
    name = run_name(env, variant, seed)
    with naming(name):
        return Trial(name, env, variant, seed, resolve(env, {**settings, "seed": seed}), after)


def read_grid(file: Path) -> Grid:
    """Read the grid in a TOML file; SettingError where it can't be read, or says something else than a grid."""
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingError(f"{file} can't be read ({error.strerror}): give a TOML file of a grid") from error
    except ValueError as error:
        raise SettingError(f"{file} is no TOML ({error}): see the grid in the documentation of seer sweep") from error
    if "arms" in content and "variants" not in content:
        content["variants"] = content.pop("arms")
    if unknown := content.keys() - {"envs", "seeds", *TABLES}:
        raise SettingError(f"{file}: unknown {', '.join(sorted(unknown))}; use envs, seeds, {', '.join(TABLES)}")
    envs = content.get("envs", [])
    if not (isinstance(envs, list) and all(isinstance(env, str) for env in envs)):
        raise SettingError(f'{file}: envs has to be a list such as ["ALE/Alien-v5"]')
    settings, per_env, variants = (content.get(name, {}) for name in TABLES)
    inner = [each for table in (per_env, variants) if isinstance(table, dict) for each in table.values()]
    if not all(isinstance(table, dict) for table in (settings, per_env, variants, *inner)):
        raise SettingError(f"{file}: settings, [per-env.ENV] and [variants.NAME] have to be tables of flags")
    if stray := per_env.keys() - set(envs):
        raise SettingError(f"{file}: [per-env] speaks of {', '.join(sorted(stray))}, which envs has not")
    with naming(str(file)):
        return Grid(
            envs=envs,
            seeds=parse_seeds(content.get("seeds", 1)),
            variants={name: read_settings(table_to_flags(table)) for name, table in variants.items()}
            or {"default": {}},
            settings=read_settings(table_to_flags(settings)),
            per_env={env: read_settings(table_to_flags(table)) for env, table in per_env.items()},
        )


def make_grid(file: Path | None, *, envs: Sequence[str], seeds: Sequence[int], freeze_at: Sequence[str]) -> Grid:
    """Return the grid of a file, or none, with what the command line says instead; SettingError as `read_grid`."""
    if file is None and not envs:
        raise SettingError("nothing to train: give a grid file, or --envs, for example --envs ALE/Pong-v5")
    grid = Grid(envs=envs) if file is None else read_grid(file)
    names = {step: step if parse_freeze_at(step).is_never else f"freeze-{step}" for step in freeze_at}
    return replace(
        grid,
        envs=envs or grid.envs,
        seeds=parse_seeds(seeds[0] if len(seeds) == 1 else list(seeds)) if seeds else grid.seeds,
        variants={name: {"freeze.at": step} for step, name in names.items()} or grid.variants,
    )


def parse_seeds(seeds: Any) -> list[int]:
    """Return the seeds that are given, or as many from 0 as the number says; SettingError where it is neither."""
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return list(range(seeds))
    if isinstance(seeds, list) and seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        return seeds
    raise SettingError(f"seeds {seeds!r}: give a number of seeds, or a list such as [0, 1, 2]")


def table_to_flags(table: Mapping[str, Any]) -> list[str]:
    """Return a table as flags: freeze_at = "never" -> --freeze-at never, prioritized = false -> --no-prioritized."""
    flags: list[str] = []
    for name, value in table.items():
        flag = name.replace("_", "-")
        if flag in NAMED_OTHERWISE:
            raise SettingError(f"{name} is no setting of a grid: use {NAMED_OTHERWISE[flag]}")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str | int | float):
            flags += [f"--{flag}", str(value)]
        elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            flags += [f"--{flag}", *value]
        elif isinstance(value, dict):  # env-kwargs = {continuous = false}
            flags += [f"--{flag}", json.dumps(value, default=str)]
        else:
            raise SettingError(f"{name} = {value!r}: a setting is a text, a number, true or false, or a list of texts")
    return flags


def run_name(env: str, variant: str, seed: int) -> str:
    """Return the name of a run's folder: Alien-seer-0."""
    return f"{short_name(env)}-{variant}-{seed}"


def short_name(env: str) -> str:
    """Return an environment's name fit for a file's: ALE/Alien-v5 -> Alien."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", re.sub(r"-v\d+$", "", env.rpartition("/")[2]))
