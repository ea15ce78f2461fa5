"""Where compiled programs are kept: one folder of the user, which all runs share.

JAX's file cache writes an entry in place. It takes a lock for that only where the folder has a
greatest size, so there is one here. JAX then reads the time of use of all entries whenever it
writes one, so their number is limited, too, when a program starts.

A process that is killed while it writes leaves an entry without its time of use. JAX would read
that damaged entry in every later run, and fail to delete old ones. So it is deleted as well.

Programs of other devices, processors, versions and flags have other keys: JAX hashes all of them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GREATEST_BYTES = 1 << 30  # a run on a CPU needs 1.5 MB
_MOST_ENTRIES = 500  # some twenty kinds of runs; what more would cost: docs/results/training.md
_LOCK_SECONDS = 10

# JAX's names.
_LOCK = ".lockfile"
_ENTRY, _TIME_OF_USE = "-cache", "-atime"


def use_cache(run: Path) -> None:
    """Set JAX's environment variables for the cache; JAX must be imported after this call.

    The folder is the user's, or the run's own where that cannot be written. Where neither can,
    nothing is kept. Variables that the user has set win.
    """
    # Small programs too: a run with a warm cache compiles nothing.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = _choose(run)
    if folder is not None:
        if folder.exists():
            clean(folder)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_GREATEST_BYTES))


def _choose(run: Path) -> Path | None:
    """The first of the user's folder and the run's that can be written."""
    shared = user_folder()
    if shared is not None and _make(shared):
        return shared
    if not _may_write(run):
        return None
    folder = run.absolute() / "cache" / "xla"
    print(f"cache  {folder}, for this run alone: {shared or 'no home folder'} cannot be written")
    return folder


def user_folder() -> Path | None:
    """Where the XDG Base Directory Specification puts it; None for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return None
    return base / "socialrec_jax" / "xla"


def clean(folder: Path) -> None:
    """Delete the entries of processes that were killed while they wrote them, and the entries that
    were not used for the longest time.
    """
    import filelock  # late: --help does without it

    lock = filelock.FileLock(folder / _LOCK, timeout=_LOCK_SECONDS)
    # Whoever writes an entry holds the lock. Where it takes too long, the next program cleans.
    with contextlib.suppress(filelock.Timeout), lock:
        _delete_unfinished(folder)
        for file in _by_use(folder)[:-_MOST_ENTRIES]:
            _entry_of(file).unlink(missing_ok=True)
            file.unlink()


def _delete_unfinished(folder: Path) -> None:
    # The time of use is written last.
    whole = {_entry_of(file) for file in _by_use(folder)}
    for entry in folder.glob(f"*{_ENTRY}"):
        if entry not in whole:
            entry.unlink()


def _entry_of(time_of_use: Path) -> Path:
    name = time_of_use.name.removesuffix(_TIME_OF_USE)
    return time_of_use.with_name(name + _ENTRY)


def _by_use(folder: Path) -> list[Path]:
    """The times of use of all entries, the oldest first."""
    return sorted(folder.glob(f"*{_TIME_OF_USE}"), key=lambda file: file.stat().st_mtime_ns)


def _make(folder: Path) -> bool:
    """Make a folder if need be; False where nothing can be written into it."""
    try:
        # For this user alone: a program from the cache runs as it is.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _may_write(run: Path) -> bool:
    """Whether files of a run can be written; the run itself is made later."""
    if not run.parent.exists():
        return True  # all folders are made
    return os.access(run if run.exists() else run.parent, os.W_OK)
