"""The settings that every command about many runs has."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pool:
    """How the runs are trained."""

    out: Path | None = None
    """Folder of the sweep. The same command goes on with what is there; nothing finished is done again."""

    dry_run: bool = False
    """List the runs and what they will cost in FLOPs, bytes and hours; train nothing."""

    measure: bool = True
    """In a dry run, train a few steps of each kind of run to tell the hours."""

    jobs: int | None = None
    """Runs at a time on this machine. Default: as many as its cores and free memory hold."""

    threads: int = 1
    """CPU threads of each run."""

    retries: int = 2
    """How often a run that was killed, or whose machine died, goes on from its checkpoint."""

    ray: str | None = None
    """Train on a Ray cluster: auto, HOST:PORT, or local (needs the extra seer-rl[ray])."""

    trial_cpus: int | None = None
    """CPUs a run asks for. Default: its threads."""

    trial_gpus: float = 0.0
    """GPUs a run asks of Ray, such as 0.5 for two runs on one."""

    trial_memory: str | None = None
    """Memory a run asks for, such as 8GB. Default: its replay and 0.7 GB, on Control 1.5."""
