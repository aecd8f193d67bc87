"""`seer reproduce`: an exhibit of the paper, at the paper's scale or a smaller one, to its figures and a report."""

import dataclasses
from pathlib import Path

from seer.config import Config
from seer.errors import SettingError
from seer.paper.differences import statement
from seer.paper.exhibits import EXHIBITS
from seer.paper.results import show
from seer.paper.scale import Scale, ScaleName
from seer.sweeps.grid import Settings, override
from seer.sweeps.options import Pool
from seer.sweeps.run import Resolve, carry_out, check, resolved
from seer.sweeps.trial import Trial

PAPER_REMARK = "; this is the paper's scale, --scale small trains a share of it"


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
    size = Scale.of(whole, scale, seeds)
    exhibit = whole.only(envs or size.envs(whole)).pretrained_for(size.pretraining_steps)
    root = pool.out or Path("runs") / _folder(size, prioritized)
    common: Settings = {} if prioritized is None else {"prioritized": prioritized}
    published = [
        (trial, resolved(trial, resolve))
        for trial in exhibit.trials(seeds=size.seeds, root=root.resolve(), common=common)
    ]
    trials = [_scaled(trial, config, size) for trial, config in published]
    planned = check(trials, root=root, pool=pool, resolve=resolve)
    said = statement(whole, exhibit, size, planned, [config for _, config in published])
    print("\n".join((f"{name}: {exhibit.title}", *said)), flush=True)
    code = 0
    try:
        remark = PAPER_REMARK if scale == "paper" else ""
        carry_out(exhibit.title, planned, root=root, pool=pool, manifest=f"{name}.json", remark=remark)
    except SystemExit as stop:
        code = int(stop.code or 0)
    if not pool.dry_run and code != 130:
        complete = show(exhibit, trials, root=root, statement=said, fraction=size.fraction)
        code = code or int(not complete)
    if code:
        raise SystemExit(code)


def _folder(scale: Scale, prioritized: bool | None) -> str:
    """Runs of one scale share a folder, so that exhibits share runs."""
    size = scale.name if scale.name != "small" else f"small-{scale.fraction:g}"
    return f"paper-{size}" + {None: "", True: "-prioritized", False: "-uniform"}[prioritized]


def _scaled(trial: Trial, config: Config, scale: Scale) -> Trial:
    return dataclasses.replace(trial, flags=override(trial.flags, scale.settings(config, flags=trial.flags)))
