"""A folder of raw tables becomes a World, once: read, check, number, sort, split, lay down.

Everything is written into a folder beside the target, which is renamed at the end: whoever finds a
World finds a whole one. A World of the same sources, settings and schema is opened instead of being
made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data.prepare import build, rejects, staging
from socialrec_jax.data.prepare.formats import Tables, find_tables
from socialrec_jax.data.prepare.histories import raw_events, read_ids
from socialrec_jax.data.world import SCHEMA_VERSION, TEST, TRAIN, VALIDATION, Events, World
from socialrec_jax.errors import BadData, UsageError

__all__ = ["prepare", "raw_events", "read_ids"]


def prepare(
    source: Path, out: Path, config: DataConfig, split: Split, *, replace: bool = True
) -> World:
    """The World of the tables in folder `source`, laid down at `out`.

    replace: whether a World of other sources or settings at `out` may go; a trained run depends on
    its World. InputMissing: no folder or no events. BadData: see docs/data.md. UsageError: `out`
    holds something else.
    """
    sources = find_tables(source)
    if out.exists() and not (out / "manifest.json").exists() and any(out.iterdir()):
        raise UsageError(
            f"{out}: holds files that are no World; name another folder, or empty this one"
        )
    files = sorted({part.path for parts in sources.values() for part in parts})
    settings = {
        "schema_version": SCHEMA_VERSION,
        "split": split,
        "data": dataclasses.asdict(config),
    }
    with ThreadPoolExecutor(1) as pool:  # hashes are taken while DuckDB reads
        described = pool.submit(lambda: [manifests.describe(file, source) for file in files])
        if manifests.may_be_same(out, source, files, settings) and _is_made_of(
            out, described.result()
        ):
            return World.open(out)
        if not replace and manifests.read(out) is not None:
            raise BadData(f"{out} was made from other data than {source}: choose another --run")
        with _beside(out) as folder:
            world = _lay_down(sources, folder, config, split)
            manifest = manifests.hashed(
                {**settings, **world.manifest, "sources": described.result()}
            )
            dataclasses.replace(world, manifest=manifest).save()
    return World.open(out)


def _is_made_of(out: Path, described: list[dict]) -> bool:
    manifest = manifests.read(out)
    return manifest is not None and manifest["sources"] == described


def _lay_down(sources: Tables, folder: Path, config: DataConfig, split: Split) -> World:
    with staging.scratch(folder) as con:
        staged = [staging.stage(con, table, sources.get(table, [])) for table in staging.TABLES]
        rejected = rejects.settle_all(
            con, staged, config.max_bad_share, folder / "rejected.parquet"
        )
        events_without_time = build.fill_times(con)
        user_ids, item_ids = build.number_ids(con)
        event_types = build.name_event_types(con)
        events = build.events(con, len(user_ids))
        friends, dropped_edges = build.friends(con, len(user_ids), config.social_direction)
        items = build.items(con, item_ids)
        build.write_users(con, staged[-1].extras, folder / "users.parquet")
    world = World(folder, {}, user_ids, events, split_events(events, split, config), friends, items)
    counts = {**manifests.count(world), **dropped_edges, "events_without_time": events_without_time}
    return dataclasses.replace(
        world,
        manifest={
            "counts": {**counts, "rejected": rejected},
            "event_types": event_types,
            "time_min": int(events.times.min()),
            "time_max": int(events.times.max()),
        },
    )


def split_events(events: Events, split: Split, config: DataConfig) -> np.ndarray:
    """TRAIN, VALIDATION or TEST of each event [N] uint8.

    leave-one-out: the last event of a user with three or more is tested, the one before it
    validated. time: events at or after the global quantiles of time that leave `test_share`, and
    `validation_share` before it. BadData: the time split leaves nothing to train on.
    """
    if split == "leave-one-out":
        return _leave_one_out(events)
    shares = np.array([1 - config.test_share - config.validation_share, 1 - config.test_share])
    places = np.minimum((shares * len(events.times)).astype(np.int64), len(events.times) - 1)
    cuts = np.partition(events.times, places)[places]
    splits = np.searchsorted(cuts, events.times, side="right").astype(np.uint8)
    if splits.all():
        raise BadData(
            "time split: no event lies before the cut, too many share one time; use leave-one-out"
        )
    return splits


def _leave_one_out(events: Events) -> np.ndarray:
    splits = np.full(len(events.times), TRAIN, np.uint8)
    history_ends = events.offsets[1:][np.diff(events.offsets) >= 3]
    splits[history_ends - 1], splits[history_ends - 2] = TEST, VALIDATION
    return splits


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` when all went well, and vanishes otherwise."""
    folder, former = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.former")
    for leftover in (folder, former):  # of a kill
        shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        for leftover in ("scratch.duckdb", "scratch.duckdb.wal"):
            (folder / leftover).unlink(missing_ok=True)
        shutil.rmtree(folder / "spill", ignore_errors=True)
        if (
            out.exists()
        ):  # renamed away first: a kill in the middle of a removal must not leave half a World
            out.rename(former)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
