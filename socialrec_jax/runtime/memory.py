"""Settings of glibc's allocator, for serving on a CPU: it keeps the memory that is freed.

Every call of a compiled program allocates its scratch memory anew there. By default glibc gives
large blocks back to the system, which then maps and clears each page once more. That took a fifth
of serving's time (docs/results/serving.md).

Threads have arenas of their own, which give memory back whatever the settings are. So all threads
share one arena. Small operations wait for it, which is why training keeps the defaults.
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # numbers of mallopt(3)
_SETTINGS = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GiB that it frees. Must be called before threads start.

    Does nothing without glibc, or where the user has set MALLOC_ variables: glibc reads them
    itself.
    """
    if not _has_glibc() or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)  # the C library that this process runs with
    for setting, value in _SETTINGS.items():
        library.mallopt(setting, value)


def release_freed_memory() -> None:
    """Give all unused memory back to the system once: for measurements of memory."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
