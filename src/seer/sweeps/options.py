"""The settings that every command about many runs has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from seer.errors import SettingError
from seer.fields import Bounds, fields_of
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

    jobs: Annotated[int | None, Bounds(at_least=1)] = None
    """Runs at a time on this machine. Default: as many as its cores and free memory hold; one where runs use a GPU."""

    threads: Annotated[int, Bounds(at_least=1)] = 1
    """CPU threads of each run."""

    retries: Annotated[int, Bounds(at_least=0)] = 2
    """How often a run that was killed, or whose machine died, goes on from its checkpoint."""

    ray: str | None = None
    """Train on a Ray cluster: auto, HOST:PORT, or local (needs the extra seer-rl[ray])."""

    trial_cpus: Annotated[int | None, Bounds(at_least=1)] = None
    """CPUs a run asks for. Default: its threads, and one for each environment but the first."""

    trial_gpus: Annotated[float, Bounds(at_least=0)] = 0.0
    """GPUs a run asks of Ray, such as 0.5 for two runs on one."""

    trial_memory: str | None = None
    """Memory a run asks for, such as 8GB. Default: the most it may take by its own budget, which seer train prints."""

    def check(self, *, needs_out: bool = False) -> None:
        """Raise SettingError that names the first option that is wrong, and the remedy."""
        if needs_out and self.out is None and not self.dry_run:
            raise SettingError("--out is missing: give the folder of the sweep, for example --out runs/sweep")
        for field in fields_of(SweepOptions):
            if complaint := field.complaint(getattr(self, field.name)):
                raise SettingError(complaint)
        if self.trial_memory is not None:
            parse_memory(self.trial_memory, flag="--trial-memory")
        if self.ray is None and self.trial_gpus:
            raise SettingError(f"--trial-gpus {self.trial_gpus:g} is asked of Ray: add --ray local, or leave it out")
        if self.ray is not None:
            if self.jobs is not None:
                raise SettingError(
                    f"--jobs {self.jobs} is for this machine alone; Ray trains as many as fit: see --trial-cpus"
                )
            import seer.sweeps.ray_runner  # noqa: F401  (says so where the extra is missing)
