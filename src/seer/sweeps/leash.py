"""Run a command that is told to stop when the process that started it dies: python -m ... PARENT COMMAND...

A sweep that is killed can't stop its trainings any more, and two trainings must never share cores that one sweep
counted on. Linux sends the signal itself. Training answers SIGTERM with a checkpoint. Elsewhere a training outlives
its sweep, and the next sweep waits for it (`state_of`: busy).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives exec


def main(parent: str, *command: str) -> None:
    """Become `command`, on the leash of the process `parent`."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # it died before the leash was on
        sys.exit(f"process {parent} is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
