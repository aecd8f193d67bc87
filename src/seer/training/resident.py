"""Memory of this process, as the system measures it."""

import re
import resource
import sys
from pathlib import Path

import psutil

CGROUP_LIMIT, CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def free_bytes() -> int:
    """Bytes of memory that this machine, or the container this runs in, has left."""
    free = int(psutil.virtual_memory().available)
    try:
        return min(free, max(0, int(CGROUP_LIMIT.read_text()) - int(CGROUP_USED.read_text())))
    except (OSError, ValueError):  # no container, or "max"
        return free


def resident_bytes() -> int:
    """Bytes of this process resident in memory now."""
    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Most bytes of this process ever resident in memory at once."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage starts at the peak of the process that started this one
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, others in KiB
