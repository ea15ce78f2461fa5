"""New raw tables become the next generation of a World."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import duckdb

from benchmarks.harness.cases import Work, WrongResult
from benchmarks.work.preparation import write_shop
from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World

_TABLES = ("events", "social", "items", "users")
_COUNTS = ("users", "items", "events", "social_edges")


def append_tables(num_users: int) -> Work:
    """The last 1% of the rows of each of the shop's tables is appended to a World of the others."""
    folder = Path(tempfile.mkdtemp(prefix="append-"))
    tables, first, rest, out = (folder / name for name in ("tables", "first", "rest", "world"))
    write_shop(tables, num_users)
    for table in _TABLES:
        _split_rows(tables / f"{table}.parquet", first, rest)
    known = prepare(first, folder / "known", DataConfig(), "leave-one-out")
    whole = prepare(tables, folder / "whole", DataConfig(), "leave-one-out")

    def call(_) -> World:
        shutil.rmtree(out, ignore_errors=True)
        return append(known, rest, out)

    return Work(
        call=call,
        carry=call(None),
        check=lambda world: _check(world, whole),
        unit="events",
        units_per_call=whole.manifest["counts"]["events"],
        on_host=True,
    )


def _check(world: World, whole: World) -> None:
    """Raise WrongResult unless the counts are those of preparing all tables at once."""
    actual, expected = world.manifest["counts"], whole.manifest["counts"]
    if any(actual[name] != expected[name] for name in _COUNTS):
        raise WrongResult(f"{actual} appended, {expected} at once")


def _split_rows(file: Path, first: Path, rest: Path) -> None:
    """Write all but the last 1% of a table's rows to folder first, and these to folder rest."""
    rows = f"FROM read_parquet('{file}')"
    with duckdb.connect() as database:
        (count,) = database.execute(f"SELECT count(*) {rows}").fetchall()[0]
        cut = count * 99 // 100
        for folder, part in ((first, f"LIMIT {cut}"), (rest, f"OFFSET {cut}")):
            folder.mkdir(exist_ok=True)
            database.execute(f"COPY (SELECT * {rows} {part}) TO '{folder / file.name}'")
