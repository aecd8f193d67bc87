"""Memory and cores that this process has, as the system measures them."""

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int:
    """Bytes of memory that this machine, or the container this runs in, has left."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or "max"
        return free
    cached: list[str] = []  # bytes of files, which give way to whoever needs memory
    with suppress(OSError):
        cached = re.findall(r"^(?:in)?active_file (\d+)$", (CGROUP / "memory.stat").read_text(), re.MULTILINE)
    return min(free, max(0, limit - used + sum(map(int, cached))))


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_bytes() -> int:
    """Bytes of this process resident in memory, without files it shares with others, such as libraries."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


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
