"""Copies tables from where they lie into a folder that can be prepared.

Files are copied byte by byte, so that they are read with all checks of preparation. Tables of
databases and lakes become parquet. DuckDB reads what lies elsewhere, by an extension where it
needs one.
"""

from __future__ import annotations

import glob
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from socialrec_jax.data.prepare.build import replaced_at_end
from socialrec_jax.data.prepare.engines.duckdb.sql import name, text
from socialrec_jax.data.prepare.locations import Location
from socialrec_jax.data.prepare.sqlite_tables import write_sqlite_table
from socialrec_jax.errors import InputMissing, Unavailable, UsageError
from socialrec_jax.files import replacing, writing

log = logging.getLogger(__name__)
# nothing is downloaded before the log says so
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def fetch(locations: Sequence[Location], out: Path) -> list[Path]:
    """Copy all tables into the folder `out`; the files that it has then.

    InputMissing: there is nothing at a place. Unavailable: an extension of DuckDB is not there and
    cannot be installed. UsageError: `out` holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} holds files already: name a new folder")
    written = []
    with replaced_at_end(out) as folder:
        for number, location in enumerate(locations):
            # several places of one table become its part files
            is_part = sum(other.table == location.table for other in locations) > 1
            parent = folder / location.table if is_part or location.kind == "files" else folder
            parent.mkdir(exist_ok=True)
            prefix = f"{number:03}-" if is_part else ""
            files = _fetch_one(location, parent, prefix)
            written += [out / file.relative_to(folder) for file in files]
    return written


def _fetch_one(location: Location, folder: Path, prefix: str) -> list[Path]:
    if location.kind == "files" and location.extension is None:
        return _copy_files(location, folder, prefix)
    # rows of databases and lakes have types, which parquet keeps
    target = folder / f"{prefix}{location.table}.parquet"
    if location.kind == "sqlite":
        write_sqlite_table(Path(location.place), str(location.relation), target)
        return [target]
    # a connection for each place: two databases may have the same name
    with duckdb.connect(config=_SETTINGS) as con:
        _load_extension(con, location)
        try:
            if location.kind == "files":
                return _copy_addresses(con, location, folder, prefix)
            _copy_rows(con, location, target)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise InputMissing(f"{location.table}: cannot be fetched ({reason})") from error
    return [target]


def _copy_files(location: Location, folder: Path, prefix: str) -> list[Path]:
    """Copies of local files, in the folders that the pattern names no more."""
    found = map(Path, glob.glob(location.place, recursive=True))
    files = sorted(path for path in found if path.is_file())
    if not files:
        raise InputMissing(f"{location.place}: no such file")
    root = _root(location.place)
    targets = []
    for path in files:
        # folders such as date=2024-01-01 are columns
        parts = path.relative_to(root).parts
        target = folder.joinpath(*parts[:-1], prefix + parts[-1])
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target):
            shutil.copyfile(path, target)
        targets.append(target)
    return targets


def _root(pattern: str) -> Path:
    """The folder above all files that a pattern may name."""
    root = Path(pattern).parent
    while any(sign in str(root) for sign in "*?["):
        root = root.parent
    return root


def _copy_addresses(
    con: duckdb.DuckDBPyConnection, location: Location, folder: Path, prefix: str
) -> list[Path]:
    """Copies of the files at an address, numbered in the order of their names."""
    files = f"read_blob({text(location.place)})"
    names = [row[0] for row in con.execute(f"SELECT filename FROM {files} ORDER BY 1").fetchall()]
    targets = []
    # one by one, so that memory holds one file
    for number, file in enumerate(names):
        *parents, last = file.split("/")
        # folders such as date=2024-01-01 are columns
        columns = [part for part in parents if "=" in part]
        target = folder.joinpath(*columns, f"{prefix}{number:05}-{last}")
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = con.execute(f"SELECT content FROM read_blob({text(file)})").fetchall()
        with replacing(target) as temporary:
            temporary.write_bytes(rows[0][0])
        targets.append(target)
    return targets


def _copy_rows(con: duckdb.DuckDBPyConnection, location: Location, target: Path) -> None:
    """The rows of a table of a database or of a lake, as parquet."""
    if location.kind in ("delta", "iceberg"):
        relation = f"{location.kind}_scan({text(location.place)})"
    else:
        if location.kind == "duckdb" and not Path(location.place).is_file():
            raise InputMissing(f"{location.place}: no such file")
        kind = location.kind
        con.execute(f"ATTACH {text(location.place)} AS source (TYPE {kind}, READ_ONLY)")
        # a schema may stand before the table
        parts = str(location.relation).split(".")
        relation = ".".join(["source", *map(name, parts)])
    with replacing(target) as temporary:
        con.execute(f"COPY (SELECT * FROM {relation}) TO {text(temporary)} (FORMAT parquet)")


def _load_extension(con: duckdb.DuckDBPyConnection, location: Location) -> None:
    extension = location.extension
    if extension is None:
        return
    # one that was installed before needs no network
    try:
        con.execute(f"LOAD {extension}")
    except duckdb.Error:
        _install_extension(con, location, extension)


def _install_extension(con: duckdb.DuckDBPyConnection, location: Location, extension: str) -> None:
    """Unavailable: the extension cannot be downloaded."""
    log.warning("installing DuckDB's extension %s for %s", extension, location.table)
    try:
        con.execute(f"INSTALL {extension}; LOAD {extension}")
    except duckdb.Error as error:
        # what a database is reached by may hold a password
        is_database = location.kind in ("postgres", "mysql")
        raise Unavailable(
            f"{location.kind if is_database else location.place} is read by DuckDB's extension "
            f"{extension}, which is not installed and cannot be downloaded here: run INSTALL "
            f"{extension} in DuckDB {duckdb.__version__} where there is a network, and copy "
            "~/.duckdb/extensions from there"
        ) from error
