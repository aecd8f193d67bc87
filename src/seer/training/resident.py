"""Memory of this process, as the system measures it."""

import resource
import sys

import psutil


def resident_bytes() -> int:
    """Bytes of this process resident in memory now."""
    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Most bytes of this process ever resident in memory at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
