"""A folder of raw tables becomes the first generation of a World, once.

Everything is written into a folder beside the target, which is renamed at the end: whoever finds a
World finds a whole one. A World of the same sources, settings and format is opened instead of being
made again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data.prepare.build import (
    check_mapping,
    check_target,
    files_of,
    join_shares,
    read_columns,
    replaced_at_end,
    split_events,
    warn_of_repeats,
)
from socialrec_jax.data.prepare.engines.selection import open_engine
from socialrec_jax.data.prepare.formats import Tables, find_tables
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.world import World, check_format
from socialrec_jax.errors import BadData


def prepare(
    source: Path, out: Path, config: DataConfig, split: Split, *, replace: bool = True
) -> World:
    """The World of the tables in folder `source`, written to `out`.

    replace: whether a World of other sources or settings at `out` may go; a trained run depends on
    its World. InputMissing: no folder or no events. BadData: see docs/data.md. UsageError: `out`
    holds something else.
    """
    tables = find_tables(source, encoding=config.encoding)
    check_target(out)
    files = files_of(tables)
    settings = manifests.settings(config, split)
    with ThreadPoolExecutor(1) as pool:  # hashes are taken while the engine reads
        described = pool.submit(lambda: [manifests.describe(file, source) for file in files])
        if manifests.is_same(out, source, files, settings, described):
            return World.open(out)

        # a run that was trained on the former World cannot go on with another
        if not replace:
            _check_absent(out, source)
        with replaced_at_end(out) as folder:
            world = _build(tables, folder, config, split)
            manifest = {**settings, **world.manifest, "sources": described.result()}
            world.with_manifest(manifests.hashed(manifest)).save()
    return World.open(out)


def _check_absent(out: Path, source: Path) -> None:
    former = manifests.read(out)
    if former is not None:
        check_format(former, out)
        raise BadData(f"{out} was made from other data than {source}: choose another --run")


def _build(tables: Tables, folder: Path, config: DataConfig, split: Split) -> World:
    with open_engine(folder, files_of(tables), Rules.of(config)) as engine:
        columns = read_columns(engine, tables, config, folder, k_core=True)
        check_mapping(columns, config)
        shares = join_shares(engine, tables, columns)

    warn_of_repeats(columns.events)
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
