"""How long do raw tables take to become a World, by number of events, and 1% more of them?"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import duckdb

from benchmarks.cases import Case, Work, Wrong
from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World

_EVENTS_PER_USER = 20


def cases(tiny: bool) -> list[Case]:
    sizes = (500, 2_000) if tiny else (10_000, 100_000, 1_000_000)
    return [
        Case(name, f"{users} users", partial(work, users), f"{users} users")
        for users in sizes
        for name, work in (("prepare", prepared), ("append 1%", appended))
    ]


def prepared(num_users: int) -> Work:
    """The sample shop's tables, read, checked, numbered, sorted and laid down."""
    folder = Path(tempfile.mkdtemp(prefix="prepare-"))
    tables, out = folder / "tables", folder / "world"
    _write_shop(tables, num_users)

    def call(_) -> World:
        shutil.rmtree(out, ignore_errors=True)  # a World of the same tables would be taken as it is
        return prepare(tables, out, DataConfig(), "leave-one-out")

    world = call(None)
    counts = world.manifest["counts"]

    def check(world: World) -> None:
        if (
            world.manifest["counts"] != counts
            or world.num_users != num_users
            or len(world.events.items) != counts["events"]
        ):
            raise Wrong(f"{world.manifest['counts']} of {num_users} users, {counts} the first time")

    return Work(call, world, check, "events", counts["events"], on_host=True)


def appended(num_users: int) -> Work:
    """The last 1% of the same tables' rows, events, users, items and friends, as a generation."""
    folder = Path(tempfile.mkdtemp(prefix="append-"))
    tables, first, rest, out = (folder / name for name in ("tables", "first", "rest", "world"))
    _write_shop(tables, num_users)
    for table in ("events", "social", "items", "users"):
        _split_rows(tables / f"{table}.parquet", first, rest)
    known = prepare(first, folder / "known", DataConfig(), "leave-one-out")
    counts = prepare(tables, folder / "whole", DataConfig(), "leave-one-out").manifest["counts"]

    def call(_) -> World:
        shutil.rmtree(out, ignore_errors=True)
        return append(known, rest, out)

    def check(world: World) -> None:
        for key in ("users", "items", "events", "social_edges"):
            if world.manifest["counts"][key] != counts[key]:
                raise Wrong(f"{world.manifest['counts']} appended, {counts} at once")

    return Work(call, call(None), check, "events", counts["events"], on_host=True)


def _write_shop(tables: Path, num_users: int) -> None:
    write_tables(
        tables,
        num_users=num_users,
        num_items=max(120, num_users // 5),
        events_per_user=_EVENTS_PER_USER,
    )


def _split_rows(file: Path, first: Path, rest: Path) -> None:
    """All but the last 1% of a table's rows, and these."""
    rows = f"FROM read_parquet('{file}')"
    with duckdb.connect() as database:
        (count,) = database.execute(f"SELECT count(*) {rows}").fetchall()[0]
        cut = count * 99 // 100
        for folder, part in ((first, f"LIMIT {cut}"), (rest, f"OFFSET {cut}")):
            folder.mkdir(exist_ok=True)
            database.execute(f"COPY (SELECT * {rows} {part}) TO '{folder / file.name}'")
