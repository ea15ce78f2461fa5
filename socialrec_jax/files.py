"""Files that are the old ones or the whole new ones, whenever the process dies."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from socialrec_jax.errors import DiskError


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is either the old one or the whole new one, whenever the process dies."""
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """DiskError with the path where the block cannot write it."""
    try:
        yield
    except OSError as error:
        # NumPy says of a full disk how many numbers it wrote, and no error number.
        reason = error.strerror or str(error)
        raise DiskError(f"cannot write {error.filename or path}: {reason}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file in path's folder. It becomes path when the block ends without an error, and
    is deleted otherwise. Those that killed processes left are deleted first.
    """
    _delete_abandoned(path)
    # In the same folder: a rename across file systems is not atomic.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        with contextlib.suppress(OSError):  # some file systems of a network have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield temporary
        temporary.chmod(0o644)  # mkstemp's files are for the owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _delete_abandoned(path: Path) -> None:
    """Delete temporary files of this path whose process has ended: nobody holds their lock."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
