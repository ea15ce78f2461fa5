"""A folder of raw tables becomes the first generation of a World, once.

Everything is written into a folder beside the target, which is renamed at the end: whoever finds a
World finds a whole one. A World of the same sources, settings and format is opened instead of being
made again.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data import world_checks
from socialrec_jax.data.prepare.build import (
    check_mapping,
    check_target,
    files_of,
    join_shares,
    read_columns,
    replaced_at_end,
    split_events,
)
from socialrec_jax.data.prepare.engines.selection import open_engine
from socialrec_jax.data.prepare.event_checks import warn_of_odd_events
from socialrec_jax.data.prepare.formats import Tables, find_tables
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.data.world import World
from socialrec_jax.data.world_files import check_format
from socialrec_jax.errors import BadData, DamagedFile

log = logging.getLogger(__name__)


def prepare(
    source: Path,
    out: Path,
    config: DataConfig,
    split: Split,
    *,
    replace: bool = True,
    expected_hash: str | None = None,
) -> World:
    """The World of the tables in folder `source`, written to `out`.

    replace: whether a World of other sources or settings at `out` may go; a trained run depends on
    its World. expected_hash: of the World that `out` must become. A damaged World of the same
    sources and settings is made again. InputMissing: no folder or no events. BadData: see
    docs/data.md. UsageError: `out` holds something else.
    """
    tables = find_tables(source, options=TextOptions.of(config))
    if expected_hash is None:  # a trained run may have lost the manifest of its World
        check_target(out)
    files = files_of(tables)
    settings = manifests.settings(config, split)
    with ThreadPoolExecutor(1) as pool:  # hashes are taken while the engine reads
        described = pool.submit(lambda: [manifests.describe(file, source) for file in files])
        if manifests.is_same(out, source, files, settings, described):
            world = _open_whole(out)
            if world is not None:
                return world
            replace, expected_hash = True, manifests.read_hash(out)

        # a run that was trained on the former World cannot go on with another
        if not replace:
            _check_absent(out, source)
        with replaced_at_end(out) as folder:
            world = _build(tables, folder, config, split)
            manifest = {**settings, **world.manifest, "sources": described.result()}
            manifest = manifests.hashed(manifest)
            if expected_hash not in (None, manifest["hash"]):
                raise BadData(f"{source} makes another World than {out} was: train a new --run")
            world.with_manifest(manifest).save()
    return World.open(out)


def _open_whole(out: Path) -> World | None:
    """The World at `out` with its contents read; None, and a line in the log, where it is damaged.

    Checksums are added where there are none.
    """
    try:
        world = World.open(out)
        world_checks.verify(world)
    except DamagedFile as error:
        log.warning("%s is damaged (%s): %s is made again", error.file, error.what, out)
        return None
    return world


def _check_absent(out: Path, source: Path) -> None:
    former = manifests.read(out)
    if former is not None:
        check_format(former, out)
        raise BadData(f"{out} was made from other data than {source}: choose another --run")


def _build(tables: Tables, folder: Path, config: DataConfig, split: Split) -> World:
    with open_engine(folder, files_of(tables), Rules.of(config), config) as engine:
        columns = read_columns(engine, tables, config, folder, k_core=True)
        check_mapping(columns, config)
        shares = join_shares(engine, tables, columns)

    warn_of_odd_events(columns.events, columns.user_ids, columns.event_types, config)
    splits = split_events(columns.events, split, config)
    world = World(
        path=folder,
        manifest={},
        user_ids=columns.user_ids,
        events=columns.events,
        event_splits=splits,
        friends=columns.friends,
        items=columns.items,
        attributes=columns.attributes,
    )
    contents = manifests.contents(world)
    contents["counts"] |= columns.counts
    read = {"columns": columns.columns, "joins": shares}
    return world.with_manifest({**contents, **read, "event_types": columns.event_types})
