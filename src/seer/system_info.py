"""Memory and cores that this process has, as the system measures them."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

_VERSION_2 = ("memory.max", "memory.current", r"^(?:in)?active_file (\d+)$")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", r"^total_(?:in)?active_file (\d+)$")


def free_bytes() -> int:
    """Bytes of memory left on this machine and in the control groups (a container, a cluster's job) that this is in."""
    free = int(psutil.virtual_memory().available)
    return min([free, *(left for group in _control_groups() if (left := _left_in(group)) is not None)])


def _control_groups() -> Iterator[Path]:
    """Give the folders of this process's control group and of those it lies in, whose limits hold for it too.

    In a container its own group may be named by a path that only the host sees; the topmost folder is then that group.
    """
    lines = OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2, which has one tree for all, or 1
            inside = PurePosixPath(path.lstrip("/"))
            yield from (CGROUPS / controllers / group for group in (inside, *inside.parents))


def _left_in(group: Path) -> int | None:
    """Return the bytes of memory that a control group has left, cached files counted as free; None without a limit."""
    for limit, used, cached in (_VERSION_2, _VERSION_1):
        with suppress(OSError, ValueError):  # no such file, or "max"
            left = int((group / limit).read_text()) - int((group / used).read_text())
            files = re.findall(cached, (group / "memory.stat").read_text(), re.MULTILINE)
            return max(0, left + sum(map(int, files)))
    return None


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
