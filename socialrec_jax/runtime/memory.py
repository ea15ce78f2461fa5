"""glibc's allocator, told to keep what is freed: for serving on a CPU.

Every call of a compiled program takes its scratch memory anew there. glibc gives such large pieces
back to the system, which then maps and clears each page once more: a fifth of serving's time. What
threads take from arenas of their own is given back whatever the settings, so there is one for all;
small operations wait for it, hence not in training (docs/results.md).
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # numbers of mallopt(3)
_SETTINGS = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GiB that it frees; to be called before threads begin.

    Nothing happens without glibc, or where the user has set MALLOC_ variables, which are read by
    glibc and win.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    for setting, value in _SETTINGS.items():
        library.mallopt(setting, value)


def give_back() -> None:
    """What is kept and not used goes back to the system, once: for who measures memory."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
