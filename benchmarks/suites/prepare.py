"""How long do raw tables take to become a World, by number of events?"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.harness.cases import Case, Work, Wrong
from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World

_EVENTS_PER_USER = 20


def cases(tiny: bool) -> list[Case]:
    sizes = (500, 2_000) if tiny else (10_000, 100_000, 1_000_000)
    return [
        Case("prepare", f"{users} users", partial(prepared, users), f"{users} users")
        for users in sizes
    ]


def prepared(num_users: int) -> Work:
    """The sample shop's tables, read, checked, numbered, sorted and laid down."""
    folder = Path(tempfile.mkdtemp(prefix="prepare-"))
    tables, out = folder / "tables", folder / "world"
    write_tables(
        tables,
        num_users=num_users,
        num_items=max(120, num_users // 5),
        events_per_user=_EVENTS_PER_USER,
    )

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
