"""Small shops written by tests with one oddity each, and what a World says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World

BEGIN = 1577872800  # 2020-01-01T10:00:00Z
HEADER = ("user", "item", "timestamp")
IN_ORDER = ["i0", "i1", "i2", "i3"]  # the items of `events_csv`


def prepared(folder: Path, files: dict[str, str | bytes], **options) -> World:
    """The World of some files, by their path within the data folder."""
    source = folder / "raw"
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return prepare(source, folder / "world", DataConfig(**options), "leave-one-out")


def csv(*rows: tuple) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def events_csv(*stamps: object) -> str:
    """One user's events, item by item."""
    rows = [("u", f"i{place}", stamp) for place, stamp in enumerate(stamps)]
    return csv(HEADER, *rows)


def items_in_order(world: World) -> list[str]:
    """Items of all events, user by user in the order of the users' ids."""
    events = world.events
    names = {world.user_ids[user]: user for user in range(world.num_users)}
    rows = [
        row
        for _, user in sorted(names.items())
        for row in range(events.offsets[user], events.offsets[user + 1])
    ]
    return [world.items.ids[int(events.items[row])] for row in rows]


def times(world: World) -> list[int]:
    return world.events.times.tolist()


def users(world: World) -> list[str]:
    return sorted(world.user_ids)


def titles(world: World) -> dict[str, str]:
    return dict(zip(world.items.ids, world.items.titles, strict=True))


def lines(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def parquet(**columns) -> bytes:
    """A parquet file of some columns."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


EVENTS = csv(
    ("user", "item", "timestamp"), *(("u", f"i{place}", BEGIN + place) for place in range(4))
)
