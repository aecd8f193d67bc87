"""The Ray runner on a real local cluster of two nodes, one of which dies in the middle (slow: make test-all)."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tiny_sweep import STEPS, has_checkpoint, is_finished, steps_of, write_grid

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings aren't ours
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra seer-rl[ray]")


AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def node_settings() -> dict[str, Any]:
    """One core, and ports for Ray's own helpers: told none, it gives them 15 seconds to choose, or dies."""
    with ExitStack() as sockets:
        taken = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in AGENT_PORTS]
        ports = [each.getsockname()[1] for each in taken]
    return {"num_cpus": 1, "include_dashboard": False, **dict(zip(AGENT_PORTS, ports, strict=True))}


@pytest.fixture
def cluster() -> Iterator[Any]:
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node_settings())
    cluster.add_node(**node_settings())
    yield cluster
    cluster.shutdown()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def cut_the_power(cluster: Any) -> None:
    """Kill the second node with everything that runs on it, trainings too."""
    (node,) = cluster.worker_nodes
    raylets = [psutil.Process(entry.process.pid) for entry in node.all_processes["raylet"]]
    victims = [process for raylet in raylets for process in [raylet, *raylet.children(recursive=True)]]
    assert any("seer.worker" in process.cmdline() for process in victims)  # it was at work
    for process in victims:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)


def test_eight_trials_survive_the_death_of_a_node(cluster: Any, tmp_path: Path) -> None:
    grid, out = write_grid(tmp_path, seeds=4, steps=STEPS, **{"eval-every": 120}), tmp_path / "sweep"
    command = [sys.executable, "-m", "seer", "sweep", grid, "--out", out, "--ray", cluster.address, "--no-measure"]
    sweep = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def both_in_the_middle() -> bool:
        assert sweep.poll() is None, sweep.stdout.read() if sweep.stdout else ""
        open_runs = [run for run in (out / "runs").glob("*") if has_checkpoint(run) and not is_finished(run)]
        return len(open_runs) == 2

    wait_until(both_in_the_middle, seconds=300)
    cut_the_power(cluster)
    said, _ = sweep.communicate(timeout=540)
    assert sweep.returncode == 0, said
    assert "8 of 8 runs finished" in said
    runs = sorted((out / "runs").iterdir())
    assert len(runs) == 8
    for run in runs:
        assert is_finished(run)
        assert steps_of(run) == list(range(20, STEPS + 1, 20))
    logs = [log.read_text() for log in (out / "logs").iterdir()]
    assert sum("resuming" in log for log in logs) == 1  # the one whose node died
