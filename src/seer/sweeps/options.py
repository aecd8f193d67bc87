"""The settings that every command about many runs has."""

import math
from dataclasses import dataclass
from pathlib import Path

from seer.errors import SettingError
from seer.validation import parse_memory


@dataclass(frozen=True)
class SweepOptions:
    """How the runs are trained."""

    out: Path | None = None
    """Folder of the sweep. The same command goes on with what is there; nothing finished is done again."""

    dry_run: bool = False
    """List the runs and what they will cost in FLOPs, bytes and hours; train nothing."""

    measure: bool = True
    """Train a few steps of each kind of run first, to tell the hours."""

    jobs: int | None = None
    """Runs at a time on this machine. Default: as many as its cores and free memory hold; one where runs use a GPU."""

    threads: int = 1
    """CPU threads of each run."""

    retries: int = 2
    """How often a run that was killed, or whose machine died, goes on from its checkpoint."""

    ray: str | None = None
    """Train on a Ray cluster: auto, HOST:PORT, or local (needs the extra seer-rl[ray])."""

    trial_cpus: int | None = None
    """CPUs a run asks for. Default: its threads, and one for each environment but the first."""

    trial_gpus: float = 0.0
    """GPUs a run asks of Ray, such as 0.5 for two runs on one."""

    trial_memory: str | None = None
    """Memory a run asks for, such as 8GB. Default: the most it may take by its own budget, which seer train prints."""


def sweep_folder(options: SweepOptions) -> Path:
    """Return the folder of a sweep, once nothing is known to be wrong with its options.

    Raises:
        SettingError: naming the first that is wrong, and the remedy.
    """
    if options.out is None and not options.dry_run:
        raise SettingError("--out is missing: give the folder of the sweep, for example --out runs/sweep")
    check_options(options)
    return options.out or Path("runs/sweep")


def check_options(options: SweepOptions) -> None:
    """Check all that can be known to be wrong with them.

    Raises:
        SettingError: naming the first setting that is wrong, and the remedy.
    """
    least = {"--jobs": (options.jobs, 1), "--threads": (options.threads, 1), "--retries": (options.retries, 0),
             "--trial-cpus": (options.trial_cpus, 1)}  # fmt: skip
    for flag, (number, minimum) in least.items():
        if number is not None and number < minimum:
            raise SettingError(f"{flag} {number} must be {minimum} or more")
    if not 0 <= options.trial_gpus < math.inf:
        raise SettingError(f"--trial-gpus {options.trial_gpus:g} must be 0 or more")
    if options.trial_memory is not None:
        parse_memory(options.trial_memory, flag="--trial-memory")
    if options.ray is None and options.trial_gpus:
        raise SettingError(f"--trial-gpus {options.trial_gpus:g} is asked of Ray: add --ray local, or leave it out")
    if options.ray is not None:
        if options.jobs is not None:
            raise SettingError(
                f"--jobs {options.jobs} is for this machine alone; Ray trains as many as fit: see --trial-cpus"
            )
        import seer.sweeps.ray_runner  # noqa: F401  (says so where the extra is missing)
