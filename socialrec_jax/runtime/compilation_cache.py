"""Where compiled programs are kept: one folder of the user, which all runs share.

JAX's file cache writes an entry in place. It takes a lock for that only where the folder has a
greatest size, so there is one here; beyond it, JAX deletes the entries that were not used for the
longest time. A process that is killed while it writes leaves an entry without its time of use. JAX
would read that damaged entry in every later run, and could not delete old ones any more. So such
entries are deleted here first.

Programs of other devices, processors, versions and flags have other keys: JAX hashes all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

_GREATEST_BYTES = 512 << 20  # a run needs 1 to 10 MB; what a full folder costs: docs/results.md
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
            delete_unfinished(folder)
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


def delete_unfinished(folder: Path) -> None:
    """Delete the entries of processes that were killed while they wrote them."""
    import filelock  # late: --help does without it

    try:
        # Whoever writes holds the lock, and writes the time of use last.
        with filelock.FileLock(folder / _LOCK, timeout=_LOCK_SECONDS):
            for entry in folder.glob(f"*{_ENTRY}"):
                if not _time_of_use(entry).exists():
                    entry.unlink(missing_ok=True)
    except filelock.Timeout:
        return  # another process writes: the next run deletes them


def _time_of_use(entry: Path) -> Path:
    return entry.with_name(entry.name.removesuffix(_ENTRY) + _TIME_OF_USE)


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
