"""What a sweep will cost, from real parts: FLOPs from the agent's own networks, bytes from the replay's rows and the
run's own memory budget.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seer.config import Config, config_from_json, config_to_json
from seer.core.flops import Cost
from seer.core.phase import Phase
from seer.errors import SettingError
from seer.replay import RowFormat
from seer.runs.budget import disk_bytes
from seer.runs.folder import CHANGEABLE, CONFIG_FILE, RunFolder, settings_of
from seer.sweeps.manifest import MANIFEST_FILE
from seer.sweeps.options import SweepOptions
from seer.sweeps.trial import Needs, Trial, naming, state_of
from seer.training.build import build_schedule
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment
from seer.training.build_replay import build_budget
from seer.training.cost import run_flops
from seer.validation import parse_memory


@dataclass(frozen=True)
class Planned:
    """A trial and what it will cost.

    needs: cores and memory while it trains.
    flops, baseline: multiply-adds of the run, and of the same run without a freeze.
    num_bytes: of its replay. disk_bytes: of its checkpoints, at most.
    row_bytes: of one stored step before and after the freeze.
    seconds: of acting and learning on this machine, without evaluations; None if not measured.

    With --freeze-at auto, flops and seconds are the most it can come to (`is_bound`).
    """

    trial: Trial
    needs: Needs
    flops: int
    baseline: int
    num_bytes: int
    disk_bytes: int
    row_bytes: tuple[int, int]
    seconds: float | None = None

    @property
    def config(self) -> Config:
        """Return the trial's settings."""
        return self.trial.config

    @property
    def is_bound(self) -> bool:
        """Tell whether the run finds out when to freeze, so that its cost can only be bounded."""
        return self.config.freeze.choice.rule is not None

    def is_finished(self, root: Path) -> bool:
        """Tell whether it needs no more training, in the sweep's folder `root`."""
        return state_of(self.trial.folder(root)) == "finished"


@dataclass(frozen=True)
class Plan:
    """What a sweep will do: the trials of `planned` in the folder `root`, recorded there in the file `manifest`.

    remark: what is said behind the sum of its costs.
    """

    title: str
    planned: Sequence[Planned]
    root: Path
    options: SweepOptions
    manifest: str = MANIFEST_FILE
    remark: str = ""


def make_plan(
    title: str,
    trials: Sequence[Trial],
    *,
    root: Path,
    options: SweepOptions,
    manifest: str = MANIFEST_FILE,
    remark: str = "",
) -> Plan:
    """Return the plan of a sweep, once nothing is known to be wrong with it; write nothing.

    Raises:
        SettingError: a trial's settings don't fit its environment, or `root` holds other runs.
    """
    planned = cost_trials(trials, options)
    refuse_other_runs(planned, root)
    return Plan(title, planned, root, options, manifest, remark)


def cost_trials(trials: Sequence[Trial], options: SweepOptions) -> list[Planned]:
    """Return what every trial will cost, but for the hours.

    Raises:
        SettingError: a trial's settings don't fit its environment.
    """
    costs: dict[Config, Planned] = {}
    planned = []
    for trial in trials:
        same = dataclasses.replace(trial.config, seed=0)
        if same not in costs:
            with naming(trial.name):
                costs[same] = _planned(trial, options)
        planned.append(dataclasses.replace(costs[same], trial=trial))
    return planned


def _planned(trial: Trial, options: SweepOptions) -> Planned:
    """Return a trial and its costs; it asks for its own memory budget, but for what was set by hand."""
    config = trial.config
    environment = build_environment(config, training=False)
    agent = build_agent(config, environment, torch.device("cpu"))
    frame, latent = RowFormat(environment.frame_shape, torch.uint8), agent.latent
    after = Phase.after_freeze(frame_bytes=frame.num_bytes, latent_bytes=latent.num_bytes)
    budget = build_budget(config, environment, agent)
    flops, baseline = _flops(config, agent.cost, after=after, capacity=budget.replay // frame.num_bytes)
    stores_latents = not config.freeze.choice.is_never and after is Phase.LATENTS
    return Planned(
        trial=trial,
        needs=Needs(
            cpus=options.trial_cpus or (config.threads or 1) + config.num_envs - 1,
            num_bytes=budget.total if options.trial_memory is None else parse_memory(options.trial_memory),
            gpus=options.trial_gpus,
        ),
        flops=flops,
        baseline=baseline,
        num_bytes=budget.replay,
        disk_bytes=disk_bytes(
            agent, budget.replay, new=config.checkpoint_every * frame.num_bytes, compared=config.freeze.probe_size
        ),
        row_bytes=(frame.num_bytes, latent.num_bytes if stores_latents else frame.num_bytes),
    )


def _flops(config: Config, cost: Cost, *, after: Phase, capacity: int) -> tuple[int, int]:
    """Return the multiply-adds of the run, at most if it finds its freeze itself, and of the same one without."""
    first_update, every = build_schedule(config).first_update, config.learning.update_every

    def at(moment: int | None) -> tuple[int, int]:
        return run_flops(
            cost, after=after, updates=config.learning.updates_per_step, steps=config.steps,
            first_update=first_update, frozen_at=moment, capacity=capacity, update_every=every,
        )  # fmt: skip

    never, total = at(config.freeze_step)
    freeze = config.freeze
    if freeze.choice.rule is None:
        return total, never
    rule = freeze.make_rule()
    earliest = rule.earliest_step(probe_every=freeze.probe_every, first_update=first_update)
    # Linear in the moment between these, but for steps at updates, so the dearest freeze is near one, or there is none.
    corners = {earliest, first_update, capacity, config.steps}
    moments = {corner + near for corner in corners for near in range(1 - every, every)}
    dearest = max(never, *(at(moment)[1] for moment in moments if 0 < moment <= config.steps))
    looked_at = 2 * freeze.probe_size * (config.steps // freeze.probe_every) if rule.compares_features else 0
    return dearest + looked_at * cost.encoder.multiply_adds, never


def refuse_other_runs(planned: Sequence[Planned], root: Path) -> None:
    """Refuse a run folder of a trial's name that holds another run: nothing is mixed up, nothing overwritten."""
    for each in planned:
        folder = each.trial.folder(root)
        if not (folder / CONFIG_FILE).exists():
            continue
        theirs = RunFolder.open(folder).config
        with suppress(SettingError):  # an earlier version's: settings that it didn't know have their defaults
            theirs = config_to_json(config_from_json(theirs))
        differing = _differing(_told_apart(config_to_json(each.config)), _told_apart(theirs))
        for name in ("precision", "convolution"):
            if getattr(each.config.learning, name) == "auto":  # as the machine that began it decided
                differing = [found for found in differing if found != f"learning.{name}"]
        if differing:
            raise SettingError(
                f"--out {root}: {folder} is another run (it differs in {', '.join(differing)}); choose another --out"
            )


def _told_apart(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the name of the run that another's encoder comes from, wherever that run lies."""
    settings, name = settings_of(config), "freeze.encoder_from"
    return settings | ({name: Path(settings[name]).name} if isinstance(settings.get(name), str) else {})


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = (ours.keys() | theirs.keys()) - CHANGEABLE
    return sorted(name for name in names if ours.get(name) != theirs.get(name))
