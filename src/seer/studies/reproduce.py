"""`seer reproduce`: an exhibit of the paper, at the paper's scale or a smaller one, to its figures and a report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seer.config import Config
from seer.errors import SettingError
from seer.experiments.arms import AGENT_NAMES
from seer.experiments.grid import Settings, override, short_name
from seer.experiments.paper import EXHIBITS, Exhibit
from seer.experiments.trials import Trial
from seer.studies.pool import Pool
from seer.studies.show import show
from seer.studies.sweep import Resolve, carry_out

ScaleName = Literal["paper", "small", "toy"]
TOY: Settings = {
    "steps": 600, "first-update": 100, "batch-size": 8, "hidden-units": 16, "eval-every": 150, "eval-episodes": 1,
    "log-every": 50, "checkpoint-every": 300,
}  # fmt: skip
TOY_FREEZE, TOY_ROWS, TOY_FRACTION = 400, 200, 1e-4
MORE_OFTEN = 20  # evaluations of a small run, so that a score at a FLOPs budget lies between two near ones


@dataclass(frozen=True)
class Scale:
    """How a reproduction differs from the paper: shares of its steps, T_f, replay and FLOPs; fewer of the rest."""

    name: ScaleName
    fraction: float
    seeds: int

    def settings(self, config: Config, *, flags: Sequence[str]) -> Settings:
        """What changes of a run's settings at this scale."""
        if self.name == "paper":
            return {}
        step, rows = config.freeze_step, config.replay.capacity
        if self.name == "toy":
            own: dict[str, str | int | float | bool] = dict(TOY)
            if "--encoder-from" not in flags and step is not None:
                own["freeze-at"] = TOY_FREEZE
            if rows is not None:
                own["replay-capacity"] = TOY_ROWS
            return own | ({"random-steps": 100} if config.agent in ("sac", "curl") else {})
        steps = round(config.steps * self.fraction)
        own = {"steps": steps, "eval-every": max(1, steps // MORE_OFTEN), "checkpoint-every": max(1, steps // 5)}
        if step is not None and "--encoder-from" not in flags:
            own["freeze-at"] = max(1, round(step * self.fraction))
        if rows is not None:
            own["replay-capacity"] = round(rows * self.fraction)
        return own


def reproduce(
    name: str,
    scale: ScaleName,
    *,
    seeds: int | None,
    envs: tuple[str, ...],
    prioritized: bool | None,
    pool: Pool,
    resolve: Resolve,
) -> None:
    """Train what the exhibit compares, then draw and report it, also where some runs failed.

    Raises:
        SettingError: there is no such exhibit, or a setting is wrong.
        SystemExit: the exit code of the sweep, where that isn't 0.
    """
    if name not in EXHIBITS:
        raise SettingError(f"unknown exhibit {name!r}; use one of {', '.join(EXHIBITS)}")
    if seeds is not None and seeds < 1:
        raise SettingError(f"--seeds {seeds} must be 1 or more")
    whole = EXHIBITS[name]
    size, exhibit = _scale(whole, scale, seeds, envs)
    root = pool.out or Path("runs") / _folder(size, prioritized)
    common: Settings = {} if prioritized is None else {"prioritized": prioritized}
    whole_trials = exhibit.trials(seeds=size.seeds, root=root.resolve(), common=common)
    trials = [_scaled(trial, size, resolve) for trial in whole_trials]
    statement = [*_statement(whole, exhibit, size), _replay(trials, resolve)]
    print("\n".join((f"{name}: {exhibit.title}", *statement)))
    code = 0
    try:
        carry_out(exhibit.title, trials, root=root, pool=pool, resolve=resolve, manifest=f"{name}.json")
    except SystemExit as stop:
        code = int(stop.code or 0)
    if not pool.dry_run and code != 130:
        complete = show(exhibit, trials, root=root, statement=statement, fraction=size.fraction)
        code = code or int(not complete)
    if code:
        raise SystemExit(code)


def _scale(exhibit: Exhibit, name: ScaleName, seeds: int | None, envs: tuple[str, ...]) -> tuple[Scale, Exhibit]:
    if name == "paper":
        return Scale(name, 1.0, seeds or exhibit.seeds), exhibit.only(envs or exhibit.envs)
    small = exhibit.small
    if name == "small":
        return Scale(name, small.fraction, seeds or small.seeds), exhibit.only(envs or small.envs)
    first = tuple(dict.fromkeys(comparison.envs[0] for comparison in exhibit.comparisons))
    return Scale(name, TOY_FRACTION, seeds or 1), exhibit.only(envs or first)


def _folder(scale: Scale, prioritized: bool | None) -> str:
    """Runs of one scale share a folder, so that exhibits share runs."""
    size = scale.name if scale.name != "small" else f"small-{scale.fraction:g}"
    return f"paper-{size}" + {None: "", True: "-prioritized", False: "-uniform"}[prioritized]


def _scaled(trial: Trial, scale: Scale, resolve: Resolve) -> Trial:
    settings = scale.settings(resolve(trial.flags), flags=trial.flags)
    if "--snapshot-every" in trial.flags and scale.name != "paper":
        settings = {**settings, "snapshot-every": settings["eval-every"]}
    return dataclasses.replace(trial, flags=override(trial.flags, settings))


def _statement(whole: Exhibit, exhibit: Exhibit, scale: Scale) -> list[str]:
    """How this differs from what the paper did."""
    said = []
    if scale.name == "small":
        said.append(f"{scale.fraction:g} of the paper's steps, freeze steps, replay capacity and FLOPs budgets")
    elif scale.name == "toy":
        said.append("a few hundred steps of tiny networks: the figures mean nothing")
    if len(exhibit.envs) < len(whole.envs):
        said.append(f"{', '.join(map(short_name, exhibit.envs))} of its {len(whole.envs)} environments")
    if scale.seeds != whole.seeds:
        said.append(f"{scale.seeds} seed{'s' if scale.seeds > 1 else ''} instead of {whole.seeds}")
    return [f"Scale {scale.name}: {'; '.join(said) if said else 'as published'}."]


def _replay(trials: Sequence[Trial], resolve: Resolve) -> str:
    """Which replay the runs use, and the flag for the other."""
    kinds: dict[str, set[str]] = {}
    for trial in trials:
        config = resolve(trial.flags)
        kinds.setdefault("prioritised" if config.replay.prioritized else "uniform", set()).add(
            AGENT_NAMES[config.agent]
        )
    said = " and ".join(f"{kind} for {' and '.join(sorted(agents))}" for kind, agents in kinds.items())
    return f"Replay: {said}; --replay prioritized or uniform sets it for all (the authors' code is uniform)."
