"""The limit of time that every call of an environment has."""

import signal
import subprocess
import sys
import time

import pytest

from seer.envs import base
from seer.errors import RunError


def test_a_reset_that_hangs_in_c_ends_the_process() -> None:
    """No exception reaches it: it never comes back to Python, and holds on to the interpreter."""
    program = (
        "import itertools\n"
        "from seer.envs import base\n"
        "base.GRACE = 0.3\n"
        "with base.at_most(0.3, through_c=True):\n"
        "    sum(itertools.repeat(1))\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert time.monotonic() - started < 40
    assert base.GRACE == 30


def test_time_for_which_a_process_was_stopped_does_not_count() -> None:
    """Stop a call of 0.1 seconds, which may take 2, for 3."""
    program = (
        "import time\n"
        "from seer.envs import base\n"
        "with base.at_most(2):\n"
        "    print('under way', flush=True)\n"
        "    time.sleep(0.1)\n"
    )
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, ("", ""))
    assert time.monotonic() - started > 3


def test_a_limit_leaves_nothing_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with base.at_most(5):
        pass
    with pytest.raises(RunError, match=r"longer than 0.05 seconds"), base.at_most(0.05):
        time.sleep(5)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
