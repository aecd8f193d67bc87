"""`seer train --dry-run`: tell what a run will do, take and cost; write nothing."""

from pathlib import Path

from seer.config import Config, config_to_json
from seer.reporting.curves import label
from seer.runs.folder import flatten
from seer.runs.terminal import Terminal, human_bytes
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import cost_trials
from seer.sweeps.speed import timed
from seer.sweeps.trial import Trial


def dry_run(config: Config) -> None:
    """Print the plan of a run, with its hours at the speed of a few steps; SettingError where it wouldn't start."""
    trial = Trial("run", config.env, config.agent, config.seed, config)
    (planned,) = timed(cost_trials([trial], SweepOptions()), Path("runs"))
    bound = "at most " if planned.is_bound else ""
    before, after = (f"{size:,}" for size in planned.row_bytes)
    row = before if before == after else f"{before} → {after}"
    where = "of memory" if config.replay_on is None else f"in a file in {config.replay_on}"
    rows = {
        "agent": label(dict(flatten(config_to_json(config)))),
        "steps": f"{config.steps:,}, an evaluation every {config.eval_every:,}",
        "FLOPs": f"{bound}{planned.flops:.3g} ({planned.flops / planned.baseline:.0%} of never freezing)",
        "replay": f"{human_bytes(planned.num_bytes)} {where}; {row} bytes a step",
        "memory": f"at most {human_bytes(planned.needs.num_bytes)}",
        "checkpoints": f"at most {human_bytes(planned.disk_bytes)} on disk",
        "time": f"{bound}{(planned.seconds or 0) / 3600:.2f} hours at the speed just measured, without evaluations",
    }
    Terminal().table(f"{config.env}, {config.agent}, seed {config.seed}: nothing is trained", rows)
