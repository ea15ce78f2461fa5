"""What decides the rows of a task, so that a later start knows whether it is the same command."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from socialrec_jax.checksums import sha256_of
from socialrec_jax.runtime.generations import current_generation


def command_of(task: str, run: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The task, its run and its options as JSON, with hashes of all files that they name."""
    run = current_generation(run).path
    # Of a run the manifests are enough: they hold the hashes of the large files.
    manifests = [run / "world" / "manifest.json", *run.glob("checkpoints/*/*/MANIFEST.json")]
    described = {name: _as_json(value) for name, value in options.items()}
    return {"task": task, "run": _path_and_hash(run, manifests)} | described


def _as_json(value: Any) -> Any:
    if not isinstance(value, Path):
        return value
    files = filter(Path.is_file, value.rglob("*")) if value.is_dir() else [value]
    return _path_and_hash(value, files)


def _path_and_hash(path: Path, files: Iterable[Path]) -> dict[str, str]:
    """A path, and one hash of the contents of files in the order of their names."""
    total = hashlib.sha256()
    # A file that is missing is named with a message of its own when it is read.
    for file in sorted(file for file in files if file.is_file()):
        total.update(bytes.fromhex(sha256_of(file)))
    return {"path": str(path.resolve()), "sha256": total.hexdigest()}
