"""Keep the C library from giving memory back to the system between updates."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT_BYTES = 32 << 20  # glibc takes no larger value


def keep_freed_memory() -> bool:
    """Serve blocks of up to 32 MiB from memory that stays with the process; True where the system lets us.

    An update allocates and frees the same few megabytes again and again. By default glibc returns such blocks to
    the system, which then has to clear every page anew: that costs more time than the convolutions. Other C
    libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
