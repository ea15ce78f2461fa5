"""The manifest of a folder: size and SHA-256 of each of its files, so that no damage is silent.

A manifest is JSON. `files` describes the files by name, and `sha256` is that of all else in the
manifest, which protects itself. It is written when all files are: a folder with one is whole.

Sizes take a call for each file, and are compared whenever a folder is opened. Contents take as long
as reading them (SHA-256 has instructions of its own in today's processors).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from socialrec_jax.errors import DamagedFile, UserError
from socialrec_jax.files import write_atomically

MANIFEST = "MANIFEST.json"
FILES, _OWN = "files", "sha256"
KEYS = (FILES, _OWN)  # what a manifest has besides its owner's content

# Clocks of file systems tick slowly: a file may change twice in one tick.
_TICK_NANOSECONDS = 2_000_000_000

# ---- Files


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def known_sha256_of(file: Path) -> str:
    """The same, computed once for each size and time of modification in this process."""
    status = file.stat()
    if time.time_ns() - status.st_mtime_ns < _TICK_NANOSECONDS:
        return sha256_of(file)
    return _remembered(file.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=10_000)
def _remembered(file: Path, *_status: int) -> str:
    return sha256_of(file)


@contextlib.contextmanager
def readable(file: Path) -> Iterator[None]:
    """DamagedFile where the block cannot read a file.

    NumPy, SciPy and their parsers raise whatever they come across, so every exception counts.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise DamagedFile(file, "it is missing") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:80]
        raise DamagedFile(file, f"it cannot be read ({reason or type(error).__name__})") from None


# ---- Manifests


def describe(folder: Path, names: Iterable[str]) -> dict[str, dict]:
    """Size and SHA-256 of files in a folder, by their names."""
    names = sorted(names)
    with ThreadPoolExecutor() as pool:  # hashing needs no lock of the interpreter
        sums = list(pool.map(lambda name: sha256_of(folder / name), names))
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256}
        for name, sha256 in zip(names, sums, strict=True)
    }


def sealed(manifest: dict) -> dict:
    """The manifest with the SHA-256 of all else in it."""
    rest = {key: value for key, value in manifest.items() if key != _OWN}
    text = json.dumps(rest, sort_keys=True)
    return {**rest, _OWN: hashlib.sha256(text.encode()).hexdigest()}


def read(file: Path) -> dict:
    """A manifest. DamagedFile where it is missing, no JSON, or not what was written."""
    with readable(file):
        manifest = json.loads(file.read_text())
        if not isinstance(manifest, dict):
            raise ValueError("it holds no object")
    # Older programs wrote manifests without checksums.
    if FILES in manifest and sealed(manifest) != manifest:
        raise DamagedFile(file, "its content is not what was written")
    return manifest


def write_sealed(file: Path, content: dict) -> None:
    """Write a JSON object with a checksum of itself, whole or not at all."""
    write_atomically(file, json.dumps(sealed(content), indent=1) + "\n")


def read_sealed(file: Path) -> dict:
    """What `write_sealed` wrote. DamagedFile where it is missing, or not what was written.

    Older programs wrote such files without a checksum.
    """
    with readable(file):
        return unsealed(file, file.read_text())


def unsealed(file: Path, text: str) -> dict:
    """The JSON object in a text of a file. DamagedFile where it is not what was written."""
    with readable(file):
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    if _OWN in content and sealed(content) != content:
        raise DamagedFile(file, "its content is not what was written")
    return {key: value for key, value in content.items() if key != _OWN}


def write(file: Path, manifest: dict, names: Iterable[str]) -> None:
    """Write a manifest that describes these files of its folder, whole or not at all."""
    described = {**manifest, FILES: describe(file.parent, names)}
    write_atomically(file, json.dumps(sealed(described), indent=1) + "\n")


def check_sizes(folder: Path, manifest: dict) -> None:
    """DamagedFile where a file that the manifest names is missing or has another size."""
    for name, described in manifest.get(FILES, {}).items():
        file = folder / name
        if not file.is_file():
            raise DamagedFile(file, "it is missing")
        if (size := file.stat().st_size) != described["bytes"]:
            raise DamagedFile(file, f"it has {size} bytes, {described['bytes']} were written")


def check_contents(folder: Path, manifest: dict, names: Iterable[str] | None = None) -> None:
    """DamagedFile where a file is not what the manifest says; names: all files by default."""
    files = manifest.get(FILES, {})
    chosen = {name: files[name] for name in (files if names is None else names)}
    check_sizes(folder, {FILES: chosen})
    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(lambda name: known_sha256_of(folder / name), chosen))
    for (name, described), sha256 in zip(chosen.items(), sums, strict=True):
        if sha256 != described["sha256"]:
            raise DamagedFile(folder / name, "its content is not what was written")
