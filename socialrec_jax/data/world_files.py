"""The manifest of a World on disk: its format, and the checksums of the World's files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from socialrec_jax import checksums
from socialrec_jax.errors import BadData, DamagedFile, InputMissing

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"


def read_manifest(path: Path) -> dict:
    """The manifest of the World at path, with the checksums of its files; errors as in `open`."""
    if not (path / MANIFEST).exists():
        raise InputMissing(f"{path} holds no World: it has no {MANIFEST}")
    try:
        manifest = checksums.read(path / MANIFEST)
    except DamagedFile as error:
        raise error.with_advice("prepare the raw tables again: train.py --data DIR") from None
    check_format(manifest, path)
    return manifest


def write_manifest(path: Path, manifest: dict) -> None:
    """Write the manifest of a World whose columns are written."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST]
    names = [file.relative_to(path).as_posix() for file in files]
    checksums.write(path / MANIFEST, manifest, names)


@contextlib.contextmanager
def advised(manifest: dict) -> Iterator[None]:
    """Damage of a World names what the World was made from, and what to do."""
    try:
        yield
    except DamagedFile as error:
        names = [source["name"] for source in manifest.get("sources", [])]
        sources = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        action = "was appended from" if manifest.get("parent") else "was made from"
        advice = f"the World {action} {sources or 'raw tables'}: train.py --data DIR makes it again"
        raise error.with_advice(advice) from None


def check_format(manifest: dict, path: Path) -> None:
    """BadData, with what to do, unless the World at path has the format of this program."""
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadData(
            f"{path} is a World of format {version}, this program reads format {SCHEMA_VERSION}: "
            "prepare the raw tables again, for a new --run"
        )
