"""glibc's allocator, told to keep what is freed.

On a CPU every call of a compiled program takes its scratch memory anew. glibc gives such large pieces back to the
system, which then maps and clears each page once more: a third of the time of a step on its own (docs/results.md). What
a thread takes from an arena of its own is given back whatever the settings, and a single arena for all is waited for:
two are the measured middle.
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # numbers of mallopt(3)
_SETTINGS = {_ARENA_MAX: 2, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GiB that it frees; to be called before threads begin.

    Nothing happens without glibc, or where the user has set MALLOC_ variables, which are read by glibc and win.
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
