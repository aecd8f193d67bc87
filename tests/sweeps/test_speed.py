"""The process that measures how fast a sweep's runs train."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

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


def test_it_calls_in_a_process_of_its_own() -> None:
    with another_process() as call:
        assert call(os.getpid) not in (os.getpid(), 0)
