"""The process that measures how fast a sweep's runs train."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest

from seer.sweeps.speed import another_process


def test_ctrl_c_while_it_starts_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    others = set(multiprocessing.active_children())  # of other tests

    def interrupt() -> None:
        while not (started := set(multiprocessing.active_children()) - others):
            time.sleep(0.001)
        time.sleep(0.1)  # it imports
        os.kill(int(started.pop().pid or 0), signal.SIGINT)

    with another_process() as call:
        threading.Thread(target=interrupt).start()
        with pytest.raises(BrokenProcessPool):
            call(time.sleep, 60)
    assert capfd.readouterr().err == ""


STARTS_AND_WAITS = """
import os, time
from seer.sweeps.speed import another_process
if __name__ == "__main__":
    with another_process() as call:
        print(call(os.getpid), flush=True)
        call(time.sleep, 600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it outlives a sweep that is killed elsewhere")
def test_it_ends_with_the_sweep_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "starts.py").write_text(STARTS_AND_WAITS)
    with subprocess.Popen([sys.executable, tmp_path / "starts.py"], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        measures = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
        end = time.monotonic() + 60
        while measures.is_running() and measures.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end, "it outlives the sweep"
            time.sleep(0.05)


def test_it_calls_in_a_process_of_its_own() -> None:
    with another_process() as call:
        assert call(os.getpid) not in (os.getpid(), 0)
