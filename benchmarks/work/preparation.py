"""From raw tables to a World."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.harness.cases import Work, WrongResult
from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World

_EVENTS_PER_USER = 20


def prepare_tables(num_users: int) -> Work:
    """The sample shop's tables are read, checked, numbered, sorted and written as columns."""
    folder = Path(tempfile.mkdtemp(prefix="prepare-"))
    tables, out = folder / "tables", folder / "world"
    write_shop(tables, num_users)

    def call(_) -> World:
        # A World of the same tables would be used as it is.
        shutil.rmtree(out, ignore_errors=True)
        return prepare(tables, out, DataConfig(), "leave-one-out")

    # What the first time counts is the reference of all others.
    world = call(None)
    counts = world.manifest["counts"]
    return Work(
        call=call,
        carry=world,
        check=lambda world: _check(world, num_users, counts),
        unit="events",
        units_per_call=counts["events"],
        on_host=True,
    )


def write_shop(tables: Path, num_users: int) -> None:
    """The sample shop's raw tables."""
    # A small shop still needs items enough to choose from.
    num_items = max(120, num_users // 5)
    write_tables(
        tables,
        num_users=num_users,
        num_items=num_items,
        events_per_user=_EVENTS_PER_USER,
    )


def _check(world: World, num_users: int, counts: dict) -> None:
    """Raise WrongResult unless the counts are those of the first time, and of the columns."""
    actual = world.manifest["counts"]
    # The columns must have what the manifest says.
    complete = world.num_users == num_users and len(world.events.items) == counts["events"]
    if actual != counts or not complete:
        raise WrongResult(f"{actual} of {num_users} users, {counts} the first time")
