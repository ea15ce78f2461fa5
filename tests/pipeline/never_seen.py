"""What a run is compared with that forgot somebody: one whose tables never held them.

Numbers are append-only, so the World of the comparison has tombstones at the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare import merge
from socialrec_jax.data.prepare.build import parts_of_split
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import Items, World

ID_COLUMNS = {
    "events": {"user": "users", "item": "items"},
    "social": {"src": "users", "dst": "users"},
    "items": {"item": "items"},
    "users": {"user": "users"},
}


def write_tables_without(
    sources: Sequence[Path], out: Path, users: Sequence[str], items: Sequence[str]
) -> Path:
    """The rows of parquet tables in several folders, one after the other, without some ids."""
    out.mkdir(parents=True)
    gone = {"users": list(users), "items": list(items)}
    for table, columns in ID_COLUMNS.items():
        files = [str(folder / f"{table}.parquet") for folder in sources]
        files = [file for file in files if Path(file).exists()]
        left_out = [f'NOT list_contains(${kind}, "{name}")' for name, kind in columns.items()]
        used = {kind: gone[kind] for kind in set(columns.values())}
        duckdb.execute(
            f"COPY (SELECT * FROM read_parquet({files}, union_by_name=true) "
            f"WHERE {' AND '.join(left_out)}) TO '{out / table}.parquet'",
            used,
        )
    return out


def world_with_tombstones(tables: Path, like: World, path: Path) -> World:
    """The World of the tables, prepared as if new, with each user and item at the number that it
    has in the World `like`.
    """
    config = DataConfig(**like.manifest["data"])
    split = like.manifest["split"]
    clean = prepare(tables, path.with_name(f"{path.name}-prepared"), config, split)
    users = like.user_ids.lookup(clean.user_ids.tolist())
    items = like.items.ids.lookup(clean.items.ids.tolist())
    types = np.array([like.event_types.index(name) for name in clean.event_types])
    events = merge.renumber_events(clean.events, users, items, types, like.num_users)
    world = World(
        path=path,
        manifest=clean.manifest,
        user_ids=_spread_texts(clean.user_ids, users, like.num_users),
        events=events,
        event_splits=parts_of_split(events, split, config),
        friends=merge.renumber_friends(clean.friends, users, like.num_users),
        items=_spread_items(clean.items, items, like.num_items),
        attributes={
            name: _spread_texts(column, users, like.num_users)
            for name, column in clean.attributes.items()
        },
    )
    contents = manifests.contents(world)
    contents["counts"] = clean.manifest["counts"] | contents["counts"]
    manifest = {**clean.manifest, **contents, "event_types": like.event_types}
    path.mkdir(parents=True)
    world = world.with_manifest(manifests.hashed(manifest))
    world.save()
    return World.open(path)


def _spread_texts(column: Strings, numbers: np.ndarray, count: int) -> Strings:
    texts = [""] * count
    for number, text in zip(numbers.tolist(), column, strict=True):
        texts[number] = text
    return Strings.of(texts)


def _spread_items(items: Items, numbers: np.ndarray, count: int) -> Items:
    blank = {"prices": np.nan, "available": False, "vectors": 0}
    columns = {}
    for field in dataclasses.fields(Items):
        column = getattr(items, field.name)
        if isinstance(column, Strings):
            columns[field.name] = _spread_texts(column, numbers, count)
        else:
            spread = np.full((count, *column.shape[1:]), blank[field.name], column.dtype)
            spread[numbers] = column
            columns[field.name] = spread
    return Items(**columns)


def columns_of(world: World) -> dict[str, bytes]:
    """All columns of a World as bytes."""
    columns = {"splits": world.event_splits, "user_ids": world.user_ids, **world.attributes}
    for table in (world.events, world.friends, world.items):
        for field in dataclasses.fields(table):
            columns[f"{type(table).__name__}.{field.name}"] = getattr(table, field.name)
    return {
        name: "\n".join(column).encode()
        if isinstance(column, Strings)
        else np.ascontiguousarray(column).tobytes()
        for name, column in columns.items()
    }
