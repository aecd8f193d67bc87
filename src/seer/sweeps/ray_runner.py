"""Train the trials of a sweep as tasks of a Ray cluster.

A task that dies with its node is started again on another one, finds the run folder and goes on from its checkpoint,
which is why all nodes have to see the sweep's folder under the same path.
"""

import logging
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

from seer.errors import SettingError
from seer.runs.terminal import human_bytes
from seer.signals import listening
from seer.sweeps.progress import Progress
from seer.sweeps.trial import Needs, Outcome, Trial, orphaned, outcome_of, start, state_of

try:
    import ray
    from ray.exceptions import RayError, TaskCancelledError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise SettingError("--ray needs the extra: pip install 'seer-rl[ray]'") from None

POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0


def follow(trial: Trial, root: Path, needs: Needs, retries: int, *forerunners: Outcome) -> Outcome:
    """Bring one trial to its end; the task that Ray runs, and runs again where a node died.

    Waits while another process writes the run folder: a training that outlived its task, on the way to its end.
    """
    for forerunner in forerunners:
        if (orphan := orphaned(trial, forerunner)) is not None:
            return orphan
    deaths = 0
    while True:
        state = state_of(trial.folder(root))
        if state == "finished":
            return Outcome("finished")
        if state == "busy":
            time.sleep(POLL_SECONDS)
            continue
        process = start(trial, root, needs)
        try:
            outcome = outcome_of(trial, root, process.wait())
        except BaseException:  # cancelled: Ray raises KeyboardInterrupt here
            process.terminate()
            process.wait()
            raise
        if outcome.kind not in ("killed", "stopped") or deaths == retries:
            return outcome
        deaths += 1


class RayRunner:
    """Run trials as tasks of a Ray cluster, in the sweep's folder `root`, which all nodes share.

    `address` is auto or HOST:PORT of a cluster; local starts one on this machine. `needs` are by trial's name; a trial
    that was killed, or whose node died, goes on from its checkpoint up to `retries` times.
    """

    def __init__(
        self, root: Path, *, address: str, needs: Mapping[str, Needs], retries: int, progress: Progress
    ) -> None:
        self.root, self.address, self.needs = root.resolve(), address, needs
        self.retries, self.progress = retries, progress
        self.pending: dict[Any, Trial] = {}  # by the reference of its task
        self.stopped = False

    def run(self, trials: Sequence[Trial]) -> dict[str, Outcome]:
        """Bring every trial to its end; return how each ended.

        SettingError where there is no such cluster, a node doesn't see the folder, or a trial fits on no node.
        """
        self._connect()
        try:
            self._refuse_blind_nodes()
            self._refuse_what_fits_nowhere()
            return self._run(trials)
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        where: dict[str, Any] = {"include_dashboard": False} if self.address == "local" else {"address": self.address}
        try:
            if host := re.fullmatch(r"(?:ray://)?(.+):(\d+)", self.address):  # Ray itself would try for many minutes
                socket.create_connection((host[1].strip("[]"), int(host[2])), CONNECT_SECONDS).close()
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, OverflowError, ValueError, RuntimeError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise SettingError(
                f"--ray {self.address}: no cluster there ({first_line}); start one with `ray start --head`, "
                "or use --ray local"
            ) from error

    def _run(self, trials: Sequence[Trial]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        with listening(self._stop), self.progress:
            tasks: dict[str, Any] = {}
            for trial in trials:
                tasks[trial.name] = self._submit(trial, tasks)
                self.pending[tasks[trial.name]] = trial
            while self.pending:
                done, _ = ray.wait(list(self.pending), timeout=POLL_SECONDS)
                for reference in done:
                    trial = self.pending.pop(reference)
                    outcomes[trial.name] = self._outcome(reference)
                    self.progress.ended(trial, outcomes[trial.name])
                self.progress.update([trial for trial in self.pending.values() if trial.folder(self.root).exists()])
        return outcomes

    def _submit(self, trial: Trial, tasks: Mapping[str, Any]) -> Any:
        needs = self.needs[trial.name]
        task = ray.remote(follow).options(
            name=trial.name, num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.num_bytes, max_retries=self.retries
        )
        forerunners = [tasks[trial.after]] if trial.after else []
        return task.remote(trial, self.root, needs, self.retries, *forerunners)

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return cast(Outcome, ray.get(reference))
        except TaskCancelledError:
            return Outcome("stopped", "stopped")
        except RayError as error:
            return Outcome("stopped" if self.stopped else "killed", str(error).strip().splitlines()[-1])

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True
        for reference in self.pending:
            ray.cancel(reference)

    def _refuse_blind_nodes(self) -> None:
        """Raise SettingError where a node doesn't see the folder: a trial whose node died couldn't go on there."""
        blind = []
        for node in _nodes():
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            sees = ray.remote(_sees).options(num_cpus=0, scheduling_strategy=here).remote(self.root)
            try:
                if not ray.get(sees, timeout=120):
                    blind.append(node["NodeManagerAddress"])
            except RayError as error:
                raise SettingError(
                    f"--ray {self.address}: node {node['NodeManagerAddress']} can't run seer "
                    f"({str(error).strip().splitlines()[-1]}); install the same seer there"
                ) from error
        if blind:
            raise SettingError(
                f"--out {self.root} isn't there on {', '.join(blind)}: give a folder that all nodes share"
            )

    def _refuse_what_fits_nowhere(self) -> None:
        """Raise SettingError where a trial fits on no node: Ray would wait for ever for one that is large enough."""
        nodes = [node["Resources"] for node in _nodes()]
        for name, needs in self.needs.items():
            asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.num_bytes}
            if not any(all(node.get(what, 0) >= amount for what, amount in asked.items()) for node in nodes):
                raise SettingError(
                    f"{name} needs {needs.cpus} CPUs, {needs.gpus:g} GPUs and {human_bytes(needs.num_bytes)}, which no "
                    "node of the cluster has; see --trial-cpus, --trial-gpus and --trial-memory"
                )


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _sees(root: Path) -> bool:
    return root.is_dir()
