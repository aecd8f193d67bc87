"""Tell what a sweep will cost: FLOPs of the agent's own networks, bytes of the replay's rows and the run's budget."""

import bisect
import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from seer.config import Config, config_from_json, config_to_json
from seer.core.phase import Phase
from seer.errors import SettingError, naming
from seer.runs.checkpoints import STATE_FILE, latest_checkpoint
from seer.runs.folder import CHANGEABLE, CONFIG_FILE, RunFolder, settings_of
from seer.sweeps.options import SweepOptions
from seer.sweeps.trial import Needs, Trial, state_of
from seer.training.budget import build_budget, disk_bytes
from seer.training.cost import RunCost, build_and_count
from seer.validation import parse_memory

MOST_STEPS = 10**12
SOURCES = ("freeze.agent_from", "freeze.encoder_from")


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
        return self.trial.config

    @property
    def is_bound(self) -> bool:
        """Tell whether the run finds out when to freeze, so that its cost can only be bounded."""
        return self.config.freeze.choice.rule is not None

    def is_finished(self, root: Path) -> bool:
        """Tell whether it needs no more training, in the sweep's folder `root`."""
        return state_of(self.trial.folder(root)) == "finished"


def cost_trials(trials: Sequence[Trial], options: SweepOptions) -> list[Planned]:
    """Return what every trial will cost, but for the hours; SettingError where one doesn't fit its environment."""
    costs: dict[Config, Planned] = {}
    planned = []
    for trial in trials:
        same = dataclasses.replace(trial.config, seed=0)
        if same not in costs:
            with naming(trial.name):
                costs[same] = _planned(trial, options)
        planned.append(dataclasses.replace(costs[same], trial=trial))
    return planned


@cache
def steps_within(config: Config, flops: float) -> int:
    """Return the steps after which a run of these settings, of any length, has spent `flops` multiply-adds."""
    *_, run = build_and_count(config)

    def spent(steps: int) -> int:
        return _flops(dataclasses.replace(run, config=dataclasses.replace(config, steps=steps)))[0]

    return bisect.bisect_left(range(MOST_STEPS), flops, key=spent)


def _planned(trial: Trial, options: SweepOptions) -> Planned:
    """Return a trial and its costs; it asks for its own memory budget, but for what was set by hand."""
    config = trial.config
    environment, agent, frame, run = build_and_count(config)
    budget = build_budget(config, environment, agent)
    flops, baseline = _flops(run)
    stores_latents = not config.freeze.choice.is_never and run.after is Phase.LATENTS
    return Planned(
        trial=trial,
        needs=Needs(
            cpus=options.trial_cpus or (config.threads or 1) + config.num_envs - 1,
            num_bytes=budget.total if options.trial_memory is None else parse_memory(options.trial_memory),
            gpus=options.trial_gpus,
            file_bytes=0 if config.replay_on is None else budget.replay,
        ),
        flops=flops,
        baseline=baseline,
        num_bytes=budget.replay,
        disk_bytes=disk_bytes(config, agent, replay=budget.replay, row=frame.num_bytes),
        row_bytes=(frame.num_bytes, agent.latent.num_bytes if stores_latents else frame.num_bytes),
    )


def _flops(run: RunCost) -> tuple[int, int]:
    """Return the multiply-adds of the run, at most if it finds its freeze itself, and of the same one without."""
    config, freeze, never = run.config, run.config.freeze, run.total(None)
    if freeze.choice.rule is None:
        return run.total(config.freeze_step), never
    rule, every = freeze.make_rule(), config.learning.update_every
    earliest = rule.earliest_step(probe_every=freeze.probe_every, first_update=config.first_update)
    # Linear in the moment between these, but for steps at updates, so the dearest freeze is near one, or there is none.
    corners = {earliest, config.first_update, run.capacity, config.steps}
    moments = {corner + near for corner in corners for near in range(1 - every, every)}
    dearest = max(never, *(run.total(moment) for moment in moments if 0 < moment <= config.steps))
    looked_at = 2 * freeze.probe_size * (config.steps // freeze.probe_every) if rule.compares_features else 0
    return dearest + looked_at * run.cost.encoder.multiply_adds, never


def refuse_other_runs(planned: Sequence[Planned], root: Path) -> None:
    """Raise SettingError where a run folder of a trial's name holds another run: nothing is mixed up or overwritten."""
    for each in planned:
        folder = each.trial.folder(root)
        if not (folder / CONFIG_FILE).exists():
            continue
        theirs = RunFolder.open(folder).config
        with suppress(SettingError):  # an earlier version's: settings that it didn't know have their defaults
            theirs = config_to_json(config_from_json(theirs))
        # "auto" is as the machine that began the run decided.
        decided = {f"learning.{n}" for n in ("precision", "convolution") if getattr(each.config.learning, n) == "auto"}
        mine, other = map(settings_of, (config_to_json(each.config), theirs))
        names = (mine.keys() | other.keys()) - CHANGEABLE - decided
        if differing := sorted(name for name in names if not _same(name, mine.get(name), other.get(name))):
            raise SettingError(
                f"--out {root}: {folder} is another run (it differs in {', '.join(differing)}); choose another --out"
            )


def _same(name: str, mine: Any, theirs: Any) -> bool:
    """Tell whether a setting has one value; the run that an agent comes from may have been moved or copied since."""
    if name not in SOURCES or not (isinstance(mine, str) and isinstance(theirs, str)):
        return bool(mine == theirs)
    now, then = Path(mine), Path(theirs)
    if now.name != then.name:
        return False
    try:
        return now.samefile(then) or _weights_of(now) == _weights_of(then)
    except (OSError, SettingError):  # the one or the other is gone
        return True


def _weights_of(source: Path) -> bytes:
    """Return what tells the weights in a run folder, or in a snapshot, from others."""
    file = latest_checkpoint(source / "checkpoints") / STATE_FILE if source.is_dir() else source
    return hashlib.sha256(file.read_bytes()).digest()
