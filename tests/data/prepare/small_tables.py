"""Small raw tables in every kind of file, and the columns of a World by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World

EVENTS = """
    SELECT 'u' || (hash(range) % 7) AS user, 'i' || (hash(range * 3) % 11) AS item,
        range // 4 AS timestamp, ['view', 'buy'][1 + (range % 3 = 0)::INT] AS event_type,
        range % 5 AS value FROM range(100)"""
SOCIAL = """
    SELECT 'u' || range AS src, 'u' || (range * range + 1) % 9 AS dst, range AS weight
    FROM range(9)"""
ITEMS = """
    SELECT 'i' || range AS item, 'Löffel, "' || range || '"' AS title, 'a|b' AS tags,
        range / 2 AS price, range > 3 AS available, '[' || range || ', 0.5]' AS image_vector
    FROM range(13)"""
USERS = "SELECT 'u' || range AS user, range % 2 AS region FROM range(8)"
TABLES = {"events": EVENTS, "social": SOCIAL, "items": ITEMS, "users": USERS}


def write_tables(folder: Path, suffix: str = "csv") -> Path:
    folder.mkdir(parents=True)
    options = {
        "parquet": "FORMAT parquet",
        "csv": "FORMAT csv, HEADER",
        "tsv": "FORMAT csv, HEADER, DELIMITER '\t'",
    }
    form = options.get(suffix.split(".")[0], "FORMAT json")
    form += {"gz": ", COMPRESSION gzip", "zst": ", COMPRESSION zstd"}.get(suffix.split(".")[-1], "")
    for table, query in TABLES.items():
        duckdb.execute(f"COPY ({query}) TO '{folder}/{table}.{suffix}' ({form})")
    return folder


def write_events(folder: Path, rows: list[tuple]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    (folder / "events.csv").write_text("\n".join(["user,item,timestamp", *lines]) + "\n")
    return folder


def make(source: Path, out: Path, split="leave-one-out", **options) -> World:
    return prepare(source, out, DataConfig(**options), split)


def flat(world: World) -> dict[str, np.ndarray | list[str]]:
    """Every column of a World by name."""
    columns: dict = {"user_ids": list(world.user_ids), "splits": world.event_splits}
    for table in ("events", "friends", "items"):
        for field in dataclasses.fields(getattr(world, table)):
            column = getattr(getattr(world, table), field.name)
            columns[f"{table}.{field.name}"] = (
                list(column) if isinstance(column, Strings) else column
            )
    return columns


def sequences(world: World) -> dict[str, list[str]]:
    bounds = world.events.offsets
    return {
        user: [world.items.ids[int(item)] for item in world.events.items[bounds[u] : bounds[u + 1]]]
        for u, user in enumerate(world.user_ids)
    }
