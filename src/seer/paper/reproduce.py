"""`seer reproduce`: train an exhibit of the paper, at its scale or a smaller one, and write its figures and report."""

import dataclasses
from pathlib import Path

from seer.errors import SettingError, naming
from seer.paper.differences import differences, print_differences
from seer.paper.exhibits import EXHIBITS
from seer.paper.results import write_results
from seer.paper.scale import Scale, ScaleName
from seer.registry import Settings
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import cost_trials
from seer.sweeps.run import run

PAPER_REMARK = "; this is the paper's scale, --scale small trains a share of it"


def reproduce(
    name: str,
    scale: ScaleName,
    *,
    seeds: int | None,
    envs: tuple[str, ...],
    prioritized: bool | None,
    options: SweepOptions,
) -> None:
    """Train the variants that the exhibit compares, then draw and report them, also where some runs failed.

    SettingError where there is no such exhibit, or a setting is wrong; SystemExit with the sweep's exit code if not 0.
    """
    if name not in EXHIBITS:
        raise SettingError(f"unknown exhibit {name!r}; use one of {', '.join(EXHIBITS)}")
    if seeds is not None and seeds < 1:
        raise SettingError(f"--seeds {seeds} must be 1 or more")
    options.check()
    whole = EXHIBITS[name]
    size = Scale.of(whole, scale, seeds)
    exhibit = whole.only(envs or size.envs(whole)).pretrained_for(size.pretraining_steps)
    # Runs of one scale share a folder, so that exhibits share runs.
    folder = f"paper-{scale}" + f"-{size.fraction:g}" * (scale == "small")
    root = options.out or Path("runs") / (folder + {None: "", True: "-prioritized", False: "-uniform"}[prioritized])
    common: Settings = {"threads": options.threads}
    if prioritized is not None:
        common = {**common, "replay.prioritized": prioritized}
    published = exhibit.trials(seeds=size.seeds, root=root.resolve(), common=common)
    sources = {trial.after for trial in published}
    trials = []
    for trial in published:
        variant = exhibit.variants.get(trial.variant)  # a pretraining is none
        flops = variant.flops if variant else None
        with naming(trial.name):
            config = size.scaled(trial.config, is_pretraining=trial.name in sources, flops=flops)
        trials.append(dataclasses.replace(trial, config=config))
    planned = cost_trials(trials, options)
    rows = differences(whole, exhibit, size, planned, [trial.config for trial in published])
    print(f"{name}: {exhibit.title}")
    print_differences(rows)
    remark = PAPER_REMARK if scale == "paper" else ""
    code = 0
    try:
        run(planned, root=root, options=options, manifest=f"{name}.json", remark=remark)
    except SystemExit as stop:
        code = int(stop.code or 0)
    if not options.dry_run and code != 130:
        complete = write_results(exhibit, trials, root=root, rows=rows, fraction=size.fraction)
        code = code or int(not complete)
    if code:
        raise SystemExit(code)
