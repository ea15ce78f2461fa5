"""Checkpoints that can be trusted: Orbax writes the arrays, a manifest of SHA-256 sums makes a step
count.

Orbax commits a step atomically, but restores flipped bits without a word, and takes any numbered
folder for a step. So a step is valid only with our MANIFEST.json, which is written last and checked
on load; a damaged step is named and the newest whole one before it is used.

With several processes all take part in writing and reading arrays; process 0 does the rest, and
says what stands.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import TypeVar

import jax
import orbax.checkpoint as ocp

from socialrec_jax.errors import DiskError
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.run import write_atomically

State = TypeVar("State")
_MANIFEST = "MANIFEST.json"
_log = logging.getLogger("socialrec_jax")


class Checkpoints:
    """The saved steps of one stage, `folder`/N."""

    def __init__(self, folder: Path, about: dict | None = None):
        """about: JSON that explains a state to whoever finds it: configuration, World. Written into
        every step.
        """
        self.folder, self.about = folder.absolute(), about or {}

    def steps(self) -> list[int]:
        """Steps with a manifest, oldest first."""
        return sorted(
            int(m.parent.name)
            for m in self.folder.glob(f"*/{_MANIFEST}")
            if m.parent.name.isdigit()
        )

    def save(self, step: int, state: object, progress: dict, keep: set[int]) -> None:
        """Write step, then delete every other but the newest two and `keep`.

        progress is JSON that travels with the state. Raises DiskError when there is no room;
        nothing is lost then.
        """
        if not processes.broadcast_from_main(lambda: self._make_room(step, state)):
            return
        target = self.folder / str(step)
        try:
            with ocp.StandardCheckpointer() as writer:
                writer.save(target / "state", parallel.across_processes(state))
        except OSError as error:
            raise _disk_error(target, error) from error
        processes.broadcast_from_main(lambda: self._seal(step, progress, keep))

    def restore(self, like: State, step: int | None = None) -> tuple[State, dict] | None:
        """The newest whole step (or the given one), placed as `like` is; None when nothing was ever
        saved.

        like: a state of the same structure, of arrays or ShapeDtypeStructs with shardings. Raises
        DiskError when steps exist and none is whole.
        """
        whole = processes.broadcast_from_main(
            lambda: self._newest_whole(self.steps() if step is None else [step])
        )
        return None if whole is None else self._load(whole, like)

    def about_step(self, step: int) -> dict:
        """What the saving program said about a step."""
        return json.loads((self.folder / str(step) / "about.json").read_text())

    def damage(self, step: int) -> str | None:
        """The first file of a step that is missing or not what was written; None when all are
        whole.
        """
        folder = self.folder / str(step)
        try:
            sums = json.loads((folder / _MANIFEST).read_text())["sha256"]
        except (OSError, ValueError, KeyError):
            return _MANIFEST
        return next(
            (n for n, s in sums.items() if not (folder / n).is_file() or _sha256(folder / n) != s),
            None,
        )

    def best_step(self) -> int | None:
        """The step that the newest whole step calls best, None when nothing was ever saved or
        validated.
        """
        return (self.newest_progress() or {}).get("best_step") or None

    def newest_progress(self) -> dict | None:
        """What was saved beside the newest whole step."""
        newest = next((step for step in self.steps()[::-1] if self.damage(step) is None), None)
        return None if newest is None else self._progress(newest)

    def restore_part(self, name: str, step: int):
        """One field of a saved state on the first local device, {} when it has none. DiskError: the
        step is damaged.
        """
        damaged = self.damage(step)
        if damaged is not None:
            raise DiskError(
                f"checkpoint {self.folder / str(step)} is damaged ({damaged}): train the run again"
            )
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        with ocp.PyTreeCheckpointer() as reader:
            saved = reader.metadata(self.folder / str(step) / "state").item_metadata.tree
            if not saved.get(name):
                return {}
            target = {
                name: jax.tree.map(
                    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), saved[name]
                )
            }
            arguments = ocp.args.PyTreeRestore(
                item=target,
                restore_args=ocp.checkpoint_utils.construct_restore_args(target),
                partial_restore=True,
            )
            return reader.restore(self.folder / str(step) / "state", args=arguments)[name]

    def _newest_whole(self, candidates: list[int]) -> int | None:
        for number in candidates[::-1]:
            damaged = self.damage(number)
            if damaged is None:
                return number
            _log.warning(
                "checkpoint %s is damaged (%s); trying an older one",
                self.folder / str(number),
                damaged,
            )
        if candidates:
            raise DiskError(
                f"no whole checkpoint in {self.folder}: delete that folder to train anew"
            )
        return None

    def _make_room(self, step: int, state: object) -> bool:
        """Ready to write a step: what was left behind is gone, and there is space. False when it is
        there already.
        """
        if step in self.steps():
            return False
        self._sweep()
        self._check_space(state)
        shutil.rmtree(self.folder / str(step), ignore_errors=True)
        return True

    def _seal(self, step: int, progress: dict, keep: set[int]) -> None:
        """Make the written arrays a step that counts, and let older ones go."""
        target = self.folder / str(step)
        try:
            (target / "progress.json").write_text(json.dumps(progress))
            (target / "about.json").write_text(json.dumps(self.about, indent=1))
            sums = {str(file.relative_to(target)): _sha256(file) for file in _files(target)}
            write_atomically(
                target / _MANIFEST, json.dumps({"step": step, "sha256": sums}, indent=1)
            )
        except OSError as error:
            raise _disk_error(target, error) from error
        for old in self.steps()[:-2]:
            if old not in keep:
                self._delete(old)

    def _progress(self, step: int) -> dict:
        return json.loads((self.folder / str(step) / "progress.json").read_text())

    def _load(self, step: int, like: State) -> tuple[State, dict]:
        like = parallel.across_processes(like)
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        with ocp.StandardCheckpointer() as reader:
            state = reader.restore(self.folder / str(step) / "state", target)
        return parallel.within_process(state), self._progress(step)

    def _delete(self, step: int) -> None:
        (
            self.folder / str(step) / _MANIFEST
        ).unlink()  # first, so that a half-deleted step no longer counts
        shutil.rmtree(self.folder / str(step))

    def _sweep(self) -> None:
        """Remove what an interrupted save or deletion left."""
        for path in self.folder.glob("*"):
            if path.is_dir() and not (path / _MANIFEST).exists():
                shutil.rmtree(path)

    def _check_space(self, state: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < 1.2 * needed:
            raise DiskError(
                f"{self.folder} has {free / 1e6:.0f} MB free, a checkpoint needs {1.2 * needed / 1e6:.0f} MB"
            )


def _disk_error(target: Path, error: OSError) -> DiskError:
    return DiskError(f"cannot write checkpoint {target}: {error.strerror or error}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
