"""What tests of whole runs share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.work.periods import write_periods
from socialrec_jax.data.synthetic import write_tables
from tests.pipeline.short_run import FEW_PASSES, NEWCOMER, TINY, shorten_training
from tests.shared import made_once
from tests.workers import Process, done


@pytest.fixture(scope="module")
def short_ranker_training() -> Iterator[None]:
    """Runs in this process train a text model and a ranker that need not be good: see there."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_training(patch)
        yield


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, short_ranker_training) -> Path:
    """A finished run on the first part of a small shop, folder 0; folders 1 and 2 come later.

    Fifty users have no friends. printed.txt also has what was compiled. Tests of it find most of
    their programs in the cache: their calls have the same sizes.
    """

    def make(folder: Path) -> None:
        write_tables(folder / "shop", num_users=150, num_items=60, events_per_user=10, seed=1)
        write_periods(folder / "shop", folder, num_periods=2, first_share=0.8)
        leave_without_friends(folder / "0")
        _write_newcomer(folder / "1" / "events.parquet")
        # A process of its own: what other tests have compiled must not be counted.
        train = ("-m", "tests.pipeline.short_run", "--data", folder / "0", "--run", folder / "run")
        ended = Process(*train, *TINY, JAX_LOG_COMPILES="1").wait()
        assert ended.code == 0, ended.errors[-2000:]
        (folder / "printed.txt").write_text(ended.output + ended.errors)

    return made_once(tmp_path_factory, "small-run", make)


@pytest.fixture(scope="module")
def grown_run(tmp_path_factory, small_run) -> Path:
    """A copy of the small run that has learnt folder 1, too."""

    def make(folder: Path) -> None:
        run = shutil.copytree(small_run / "run", folder / "run", symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            shorten_training(patch)
            printed = done("train.py", "--run", run, "--add", small_run / "1", *FEW_PASSES)
        (folder / "printed.txt").write_text(printed)

    return made_once(tmp_path_factory, "grown-run", make)


def users_without_friends(shop: Path) -> str:
    """A query for fifty users with events."""
    return f"""select distinct "user" from '{shop / "events.parquet"}' order by 1 limit 50"""


def leave_without_friends(shop: Path) -> None:
    """Take the friendships of some users away."""
    some, edges = users_without_friends(shop), shop / "social.parquet"
    with duckdb.connect() as database:
        database.execute(f"""
            copy (select * from '{edges}' where src not in ({some}) and dst not in ({some}))
            to '{shop / "fewer.parquet"}'""")
    (shop / "fewer.parquet").replace(edges)


def _write_newcomer(events: Path) -> None:
    """Add a user who has what another user has, a second later."""
    table = duckdb.read_parquet(str(events)).arrow().read_all()
    first = table.filter(pc.equal(table["user"], table["user"][0]))
    columns = {
        "user": pa.array([NEWCOMER] * len(first)),
        "timestamp": pc.add(first["timestamp"], 1),
    }
    added = first
    for name, values in columns.items():
        place = added.schema.get_field_index(name)
        added = added.set_column(place, name, values)
    pq.write_table(pa.concat_tables([table, added]), events)
