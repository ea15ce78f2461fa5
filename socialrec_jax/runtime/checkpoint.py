"""Checkpoints: Orbax writes the arrays, a manifest of SHA-256 sums says that a step is whole.

Orbax commits a step atomically. But it restores flipped bits without an error, and takes any
numbered folder for a step. So a step counts only with a MANIFEST.json, which is written last and
checked on loading. A damaged step is named, and the newest whole one before it is used.

With several processes all take part in writing and reading arrays; process 0 does the rest.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from socialrec_jax.checksums import MANIFEST, known_sha256_of, sha256_of
from socialrec_jax.errors import DamagedFile, DiskError
from socialrec_jax.files import write_atomically
from socialrec_jax.runtime import parallel, processes

State = TypeVar("State")
_SPACE_FACTOR = 1.2  # free space before a step is written, over the size of its arrays
_log = logging.getLogger("socialrec_jax")


class Checkpoints:
    """The saved steps of one stage: `folder`/N/ has state/, progress.json, about.json and
    MANIFEST.json.
    """

    def __init__(self, folder: Path, about: dict | None = None):
        """about: JSON that explains a state: configuration, World. It is written into every
        step.
        """
        self.folder = folder.absolute()
        self.about = about or {}

    # ---- Writing

    def save(self, step: int, state: object, progress: dict, keep: set[int]) -> None:
        """Write a step, then delete every other but the newest two and `keep`.

        state: a pytree of arrays of JAX or NumPy. progress: JSON that is saved with it. Raises
        DiskError when there is no space; nothing is lost then.
        """
        if not processes.broadcast_from_main(lambda: self._prepare_to_write(step, state)):
            return
        arrays = jax.tree.map(_source, parallel.across_processes(state))
        # Closing the checkpointer waits for the write, so that errors are raised here.
        try:
            with ocp.StandardCheckpointer() as writer:
                writer.save(self._state(step), arrays)
        except OSError as error:
            raise _disk_error(self._path(step), error) from error
        processes.broadcast_from_main(lambda: self._commit(step, progress, keep))

    def _prepare_to_write(self, step: int, state: object) -> bool:
        """Delete what interrupted saves left, and check the space. False when the step exists, and
        is whole.
        """
        if step in self.steps() and self.damaged_file(step) is None:
            return False  # Orbax would not write it either, but would not say so
        self._delete_uncommitted()
        self._delete_damaged_from(step)
        self._check_space(state)
        shutil.rmtree(self._path(step), ignore_errors=True)
        return True

    def _commit(self, step: int, progress: dict, keep: set[int]) -> None:
        """Make the written arrays a step that counts, and delete older ones."""
        target = self._path(step)
        try:
            (target / "progress.json").write_text(json.dumps(progress))
            (target / "about.json").write_text(json.dumps(self.about, indent=1))
            # The manifest is last: a step without it does not count.
            sums = {str(file.relative_to(target)): sha256_of(file) for file in _files(target)}
            manifest = json.dumps({"step": step, "sha256": sums}, indent=1)
            write_atomically(target / MANIFEST, manifest)
        except OSError as error:
            raise _disk_error(target, error) from error

        # Two stay, so that a damaged newest step has one to fall back on.
        for old in self.steps()[:-2]:
            if old not in keep:
                self._delete(old)

    def _delete(self, step: int) -> None:
        # The manifest goes first, so that a half-deleted step does not count.
        (self._path(step) / MANIFEST).unlink()
        shutil.rmtree(self._path(step))

    def delete_newest(self, why: str) -> None:
        """Delete the newest whole step, which must not be gone on from."""

        def delete() -> None:
            whole = [step for step in self.steps() if self.damaged_file(step) is None]
            _log.warning("checkpoint %s is deleted: %s", self._path(whole[-1]), why)
            self._delete(whole[-1])

        processes.broadcast_from_main(delete)

    def _delete_uncommitted(self) -> None:
        """Delete what an interrupted save or deletion left."""
        for path in self.folder.glob("*"):
            if path.is_dir() and not (path / MANIFEST).exists():
                shutil.rmtree(path)

    def _delete_damaged_from(self, step: int) -> None:
        """Delete this step and later ones where they are damaged: training makes them again."""
        for later in self.steps():
            if later >= step and self.damaged_file(later) is not None:
                self._delete(later)

    def _check_space(self, state: object) -> None:
        # A full disk in the middle of a write leaves files that block later ones.
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = _SPACE_FACTOR * sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DiskError(
                f"{self.folder} has {free / 1e6:.0f} MB free, "
                f"a checkpoint needs {needed / 1e6:.0f} MB"
            )

    # ---- Reading

    def steps(self) -> list[int]:
        """Steps with a manifest, oldest first."""
        names = (manifest.parent.name for manifest in self.folder.glob(f"*/{MANIFEST}"))
        return sorted(int(name) for name in names if name.isdigit())

    def restore(self, like: State, step: int | None = None) -> tuple[State, dict] | None:
        """The state and progress of the newest whole step, or of the given one. None when nothing
        was saved.

        like: a state of the same structure, of arrays or ShapeDtypeStructs with shardings, which
        says where to place each array. Raises DiskError when there are steps and none is whole.
        """
        # One process chooses, so that all restore the same step.
        whole = processes.broadcast_from_main(
            lambda: self._newest_whole(self.steps() if step is None else [step])
        )
        return None if whole is None else self._load(whole, like)

    def restore_parts(self, step: int, *names: str) -> dict:
        """Fields of a saved state by their names, on the first local device; {} for a field that
        the state does not have. Raises DiskError when the step is damaged.
        """
        self.check(step)
        with ocp.PyTreeCheckpointer() as reader:
            # It describes all arrays, which takes as long as to read some: hence once.
            saved = reader.metadata(self._state(step)).item_metadata.tree
            described = {name: saved[name] for name in names if saved.get(name)}
            # Orbax reads only what the target names.
            target = jax.tree.map(_on_host, described)
            arguments = ocp.args.PyTreeRestore(
                item=target,
                restore_args=ocp.checkpoint_utils.construct_restore_args(target),
                partial_restore=True,
            )
            found = reader.restore(self._state(step), args=arguments) if target else {}
        found = jax.device_put(found, jax.local_devices()[0])
        return {name: found.get(name, {}) for name in names}

    def best_step(self) -> int | None:
        """The best step by the progress of the newest one; None without steps."""
        return (self.newest_progress() or {}).get("best_step") or None

    def newest_progress(self) -> dict | None:
        """The progress that was saved with the newest step; None without one.

        Raises DamagedFile where that step is damaged: an older one says less, or something else.
        """
        steps = self.steps()
        if not steps:
            return None
        self.check(steps[-1])
        return self._progress(steps[-1])

    def check(self, step: int) -> None:
        """Raise DamagedFile unless a step is what was written."""
        if damaged := self.damaged_file(step):
            raise DamagedFile(self._path(step) / damaged, "it is not what was written")

    def about_step(self, step: int) -> dict:
        """The `about` that a step was saved with."""
        return json.loads((self._path(step) / "about.json").read_text())

    def damaged_file(self, step: int) -> str | None:
        """The first file of a step that is missing or not what was written; None when all are
        whole.
        """
        folder = self._path(step)
        try:
            sums = json.loads((folder / MANIFEST).read_text())["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return MANIFEST
        for name, expected in sums.items():
            file = folder / name
            if not file.is_file() or known_sha256_of(file) != expected:
                return name
        return None

    def _newest_whole(self, steps: list[int]) -> int | None:
        for step in reversed(steps):
            damaged = self.damaged_file(step)
            if damaged is None:
                return step
            _log.warning(
                "checkpoint %s is damaged (%s); trying an older one", self._path(step), damaged
            )
        if steps:
            raise DiskError(
                f"no whole checkpoint in {self.folder}: delete that folder to train anew"
            )
        return None

    def _load(self, step: int, like: State) -> tuple[State, dict]:
        # Orbax reads and writes arrays of all processes.
        target = jax.tree.map(_target, parallel.across_processes(like))
        with ocp.StandardCheckpointer() as reader:
            restored = reader.restore(self._state(step), target)
        return jax.tree.map(_placed_like, restored, like), self._progress(step)

    def _progress(self, step: int) -> dict:
        return json.loads((self._path(step) / "progress.json").read_text())

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def _state(self, step: int) -> Path:
        return self._path(step) / "state"


# ---- Arrays, as Orbax writes and reads them

# Orbax takes a millisecond of Python for a NumPy array of any size and two for one of JAX, and a
# state has more than a hundred. With several devices it even compiles a program for each shape,
# which cuts the slice out that each device writes. So only shards are written and read as JAX
# arrays.


def _source(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """What Orbax writes of an array."""
    is_shards = isinstance(leaf, jax.Array) and not leaf.is_fully_replicated
    return leaf if is_shards else np.asarray(leaf)


def _target(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct | np.ndarray:
    """What Orbax restores an array as."""
    if leaf.sharding.is_fully_replicated:
        return _on_host(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _on_host(leaf) -> np.ndarray:
    """An array of this shape and type, which takes no memory before it is written to."""
    return np.empty(leaf.shape, leaf.dtype)


def _placed_like(
    restored: jax.Array | np.ndarray, like: jax.Array | jax.ShapeDtypeStruct
) -> jax.Array:
    """What Orbax restored, on the devices of `like`."""
    if isinstance(restored, jax.Array):
        return parallel.within_process(restored)
    return jax.device_put(restored, like.sharding)


def _disk_error(target: Path, error: OSError) -> DiskError:
    return DiskError(f"cannot write checkpoint {target}: {error.strerror or error}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
