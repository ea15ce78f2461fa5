"""Settings of glibc's allocator, which make compiled programs faster on a CPU.

Every call of a compiled program allocates its scratch memory anew there, and the system maps and
clears each page at its first use.

- Training asks for huge pages: 2 MiB are mapped at once, and processors find them faster. A step
  takes up to a tenth less (docs/results/training.md).
- Serving keeps freed memory: by default glibc gives large blocks back to the system, which took a
  fifth of serving's time (docs/results/serving.md). Huge pages besides would take 4 to 6% off a
  search, which is too little to start again for.

Threads have arenas of their own, which give memory back whatever the settings are. So all threads
of a serving process share one arena. Small operations wait for it, which is why training keeps the
defaults.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

_TUNABLES = "GLIBC_TUNABLES"  # glibc reads this variable when a process starts
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # numbers of mallopt(3)
_SETTINGS = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}


def use_huge_pages() -> None:
    """Start this program again with huge pages for large arrays, where Linux gives them to those
    who ask. For programs, before their imports.

    Does nothing without glibc, or where the user has set GLIBC_TUNABLES.
    """
    if _TUNABLES in os.environ or not _is_started_by_python_itself():
        return
    if not (_has_glibc() and _are_huge_pages_on_request()):
        return
    os.environ[_TUNABLES] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_started_by_python_itself() -> bool:
    """Not by a program that runs this one, such as a notebook: that one would be started again."""
    started, *arguments = sys.orig_argv[-len(sys.argv) :]
    program = sys.argv[0]  # of a package that `python -m` runs: its __main__.py
    return arguments == sys.argv[1:] and started in (program, Path(program).parent.name)


def _are_huge_pages_on_request() -> bool:
    """Whether a program must ask. On other systems all programs have huge pages, or none."""
    try:
        return "[madvise]" in _HUGE_PAGES.read_text()
    except OSError:  # a kernel without them
        return False


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
