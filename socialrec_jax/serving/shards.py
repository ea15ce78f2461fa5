"""A folder of parquet files, written by one process or by several on a shared file system.

The users are cut into shards by their position, so that the shards in the order of their names hold
what one file would. A shard appears whole under its name, and a later start of the same command
writes only what is missing. `_SUCCESS` is written when all shards are there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.checksums import readable, sha256_of
from socialrec_jax.errors import BadData, DamagedFile, InputMissing, UsageError
from socialrec_jax.files import write_atomically
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import held_lock
from socialrec_jax.runtime.user_progress import UserProgress
from socialrec_jax.serving.user_tables import UserTables
from socialrec_jax.serving.writer import NOTHING_TO_WRITE, TEXT_SUFFIXES, write_shard

_USERS_A_SHARD = 50_000  # by default; an interrupted process loses at most one shard's work
_MOST_SHARDS = 99_999  # whose names sort as their numbers

# Of the options in a message, those whose names alone would mislead.
_DESCRIBED = {"shards": "number of shards"}

# Readers of Parquet folders pass over names with an underscore or a dot at their beginning.
_LOCK, _MANIFEST, _SUCCESS = "_lock", "_manifest.json", "_SUCCESS"
_TEMPORARY_FILES = (".part-*.parquet.*", f".{_MANIFEST}.*", f".{_SUCCESS}.*")


def is_folder(out: Path, num_shards: int | None) -> bool:
    """Whether --out names a folder of shards: it has no suffix, or a number of shards is given."""
    return num_shards is not None or not out.suffix


def check_folder(folder: Path, num_shards: int | None) -> None:
    """Raise before any work is done where folder cannot be one of shards.

    UsageError for a wrong number or name, InputMissing where its parent does not exist.
    """
    if num_shards is not None and not 1 <= num_shards <= _MOST_SHARDS:
        raise UsageError(f"--shards {num_shards} is out of range 1..{_MOST_SHARDS}")
    if folder.name.endswith(TEXT_SUFFIXES) or folder.is_file():
        raise UsageError(f"--out {folder} must be a folder: shards are parquet files in one")
    if not folder.parent.is_dir():
        raise InputMissing(f"the folder {folder.parent} of --out does not exist")


def write_shards(
    folder: Path,
    command: dict[str, Any],
    num_shards: int | None,
    load: Callable[[], UserTables],
) -> None:
    """Write the rows of all users to shards in folder; process p of n writes p, p + n, ...

    command: JSON that decides the rows. A folder of another command is a UsageError. num_shards: by
    default that of an earlier start, or one for each 50,000 users and at least one a process. load:
    is called unless everything is written already. Raises RunLocked when another job writes here.
    """
    shards = _Shards(folder)
    locked = _held_folder(folder)
    with processes.held_by_main(locked):
        # Before the run is loaded: a folder that is whole needs nothing of it.
        if processes.broadcast_from_main(lambda: shards.prepare(command, num_shards)):
            return
        answer = load()
        number = processes.broadcast_from_main(lambda: shards.plan(command, num_shards, answer))
        _write_own(shards, number, answer)

        # All processes have written their shards before the main one counts them.
        processes.barrier()
        processes.broadcast_from_main(lambda: shards.finish(number))


@contextlib.contextmanager
def _held_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; an error before anything is written leaves no trace of it."""
    existed = folder.exists()
    with held_lock(folder, _LOCK, "choose another --out"):
        try:
            yield
        # Also SystemExit and KeyboardInterrupt, by which signals end the program.
        except BaseException:
            if {file.name for file in folder.iterdir()} == {_LOCK}:
                (folder / _LOCK).unlink()
                if not existed:
                    folder.rmdir()
            raise


def _write_own(shards: _Shards, num_shards: int, answer: UserTables) -> None:
    """Write the missing shards of this process."""
    process, num_processes = processes.number_and_count()
    missing = [
        shard
        for shard in range(process, num_shards, num_processes)
        if not shards.is_finished(shard)
    ]
    users_of = {shard: _users_of(shard, num_shards, answer.num_users) for shard in missing}
    num_users = sum(users.stop - users.start for users in users_of.values())
    progress = UserProgress(num_users)
    for shard, users in users_of.items():
        write_shard(shards.file(shard), answer.tables(users, progress.advance))


def _users_of(shard: int, num_shards: int, num_users: int) -> slice:
    # The end of a shard is the begin of the next one, however the division is rounded.
    return slice(shard * num_users // num_shards, (shard + 1) * num_users // num_shards)


@dataclasses.dataclass(frozen=True)
class _Shards:
    """The files of a folder of shards."""

    folder: Path

    def file(self, shard: int) -> Path:
        return self.folder / f"part-{shard:05d}.parquet"

    def is_finished(self, shard: int) -> bool:
        """Whether a shard is there and can be read."""
        # A machine that lost its power may leave a file without content.
        try:
            pq.read_metadata(self.file(shard))
        except (FileNotFoundError, pa.ArrowInvalid):
            return False
        return True

    def prepare(self, command: dict[str, Any], num_shards: int | None) -> bool:
        """Check the folder, delete what a killed process left; whether nothing is to be written."""
        manifest = self._manifest()
        # The lock is there already, and hidden files belong to the user.
        if manifest is None and any(self.folder.glob("[!._]*")):
            raise UsageError(
                f"{self.folder} is not empty and holds no shards: choose another --out"
            )
        if manifest is not None:
            self._check_same_command(manifest, command, num_shards)
        self._delete_temporary_files()

        success = self.folder / _SUCCESS
        if manifest is None or not success.exists():
            return False
        # Contents are compared, since a copy of the folder may be cut short.
        damaged = self._damaged(manifest["shards"])
        if not damaged:
            return True
        success.unlink()  # it would promise a shard that is gone
        for shard in damaged:
            self.file(shard).unlink(missing_ok=True)
        return False

    def _damaged(self, num_shards: int) -> list[int]:
        """The shards that are not what `_SUCCESS` says; all where it says nothing."""
        try:
            listed = json.loads((self.folder / _SUCCESS).read_text())["shards"]
            sums = {shard["file"]: shard["sha256"] for shard in listed}
        except (ValueError, KeyError, TypeError):
            return list(range(num_shards))
        return [shard for shard in range(num_shards) if not self._is_same(shard, sums)]

    def _is_same(self, shard: int, sums: dict[str, str]) -> bool:
        file = self.file(shard)
        return file.exists() and sha256_of(file) == sums.get(file.name)

    def _delete_temporary_files(self) -> None:
        """Delete what killed processes left; other hidden files belong to the user."""
        for pattern in _TEMPORARY_FILES:
            for file in self.folder.glob(pattern):
                file.unlink()

    def plan(self, command: dict[str, Any], num_shards: int | None, answer: UserTables) -> int:
        """The number of shards, which is written to the manifest."""
        if not answer.num_users:
            raise BadData(NOTHING_TO_WRITE)
        manifest = self._manifest()
        if manifest is not None:
            # An earlier start has cut the users already, and its shards stay.
            return manifest["shards"]
        number = num_shards or _default_number(answer.num_users)
        text = json.dumps(command | {"shards": number}, indent=1)
        write_atomically(self.folder / _MANIFEST, text + "\n")
        return number

    def finish(self, num_shards: int) -> None:
        """Write `_SUCCESS`: rows and SHA-256 of each shard."""
        shards = [_rows_and_checksum(self.file(shard)) for shard in range(num_shards)]
        # A job without rows must not pass for a finished one.
        rows = sum(shard["rows"] for shard in shards)
        if not rows:
            raise BadData(NOTHING_TO_WRITE)
        text = json.dumps({"rows": rows, "shards": shards}, indent=1)
        write_atomically(self.folder / _SUCCESS, text + "\n")

    def _manifest(self) -> dict[str, Any] | None:
        file = self.folder / _MANIFEST
        if not file.exists():
            return None
        try:
            with readable(file):
                manifest = json.loads(file.read_text())
                return manifest | {"shards": int(manifest["shards"])}
        except DamagedFile as error:
            raise error.with_advice(f"delete {self.folder}, or choose another --out") from None

    def _check_same_command(
        self, manifest: dict[str, Any], command: dict[str, Any], num_shards: int | None
    ) -> None:
        # Without a number that of the earlier start holds.
        expected = command | {"shards": num_shards or manifest["shards"]}
        differing = [name for name, value in expected.items() if manifest.get(name) != value]
        if differing:
            options = " and ".join(
                _DESCRIBED.get(name, name.replace("_", "-")) for name in differing
            )
            raise UsageError(
                f"{self.folder} holds shards of another command, with another {options}: "
                "choose another --out or delete the folder"
            )


def _default_number(num_users: int) -> int:
    _, num_processes = processes.number_and_count()
    # No process of the job is left without a shard.
    return min(max(math.ceil(num_users / _USERS_A_SHARD), num_processes), _MOST_SHARDS)


def _rows_and_checksum(file: Path) -> dict[str, Any]:
    rows = pq.read_metadata(file).num_rows
    return {"file": file.name, "rows": rows, "sha256": sha256_of(file)}
