"""Faster allocation on Linux: the C library keeps freed memory for the next use."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> None:
    """Ask glibc to keep blocks of less than 1 GiB for the next use; with another C library nothing happens.

    Training steps free and allocate the same blocks again and again. If they are returned to the system in between,
    each allocation faults its pages in anew, which takes a tenth of a step on a CPU. The setting applies to the whole
    process, so commands call this, not functions.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(MMAP_THRESHOLD, 2**30)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
