"""Spark makes the same World as DuckDB, byte for byte, and says in one line what it lacks.

The comparisons start one Spark of two cores, and skip without Java, pyspark or sqlglot:
`make test-spark` installs what pip has of them.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data.prepare.doctor import check
from socialrec_jax.data.prepare.engines.spark.libraries import check_java
from socialrec_jax.data.prepare.engines.spark.parts import Parts
from socialrec_jax.data.prepare.engines.spark.session import open_session
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables as write_synthetic_shop
from socialrec_jax.data.world_files import read_manifest
from socialrec_jax.errors import BadData, Unavailable, UsageError
from tests.data.prepare.odd_shops import BEGIN, csv, lines
from tests.data.prepare.small_tables import write_tables
from tests.data.prepare.test_prepare import SHARED

SPARK = {"engine": "spark", "master": "local[2]"}


@functools.cache
def what_is_missing() -> str | None:
    absent = [name for name in ("pyspark", "sqlglot") if not importlib.util.find_spec(name)]
    if absent:
        return f"no {' and no '.join(absent)} here: make test-spark installs them"
    try:
        check_java()
    except Unavailable as error:
        return str(error)
    return None


# Queries of some rows: to compile them takes longer than to interpret them.
DEFAULTS = """
spark.sql.codegen.wholeStage false
spark.sql.codegen.factoryMode NO_CODEGEN
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
"""


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """A Spark that all comparisons of this file use."""
    if reason := what_is_missing():
        pytest.skip(reason)
    settings = tmp_path_factory.mktemp("settings")
    (settings / "spark-defaults.conf").write_text(DEFAULTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(settings))
        with open_session("local[2]", tmp_path_factory.mktemp("spill")) as session:
            yield session


def world_of(source: Path, out: Path, **options) -> dict:
    """The manifest of a World, with the checksums of all its files."""
    split = options.pop("split", "leave-one-out")
    return read_manifest(prepare(source, out, DataConfig(**options), split).path)


def assert_same_world(source: Path, folder: Path, **options) -> dict:
    by_duckdb = world_of(source, folder / "duckdb", **options)
    by_spark = world_of(source, folder / "spark", **options, **SPARK)
    assert by_spark == by_duckdb
    assert not list((folder / "spark").glob("spark*")), "what Spark wrote on the way is deleted"
    return by_spark


def write_odd_shop(folder: Path) -> Path:
    """Part files of all kinds, with ties, blank times, repeats and bad rows."""
    parts = folder / "events"
    parts.mkdir(parents=True)
    rows = [
        (f"u{n % 7}", f" i{n % 5}", BEGIN + n // 3, ["view", "View ", "buy", "1.0"][n % 4], n % 5)
        for n in range(120)
    ]
    rows += [("u1", "i1", "", "view", 1), ("u2", "i2", "soon", "view", 1), ("", "i3", 5, "", 1)]
    header = ("user", "item", "timestamp", "event_type", "value")
    (parts / "a.csv").write_text(csv(header, *rows, *rows[:9]))
    events = [{"uid": n % 4, "sku": f"i{n}", "ts": BEGIN - n, "type": "buy"} for n in range(30)]
    (parts / "b.jsonl").write_text(lines(*events) + "{broken\n")
    columns = f"range % 5 AS user, 'i' || range AS item, {BEGIN} + range AS time"
    duckdb.execute(f"COPY (SELECT {columns} FROM range(40)) TO '{parts}/c.parquet'")
    edges = [(f"u{n % 9}", f"u{n * n % 8}", n / 8, BEGIN + n) for n in range(40)]
    (folder / "social.csv").write_text(csv(("src", "dst", "weight", "timestamp"), *edges))
    items = [{"item": f"i{n % 9}", "title": f"Löffel {n}", "vector": [n, 0.5]} for n in range(11)]
    items += [{"item": "i20", "vector": [1]}, {"item": "i21", "price": "1,5"}]
    (folder / "items.jsonl").write_text(lines(*items))
    users = [(f"u{n}", n % 2 or "") for n in range(12)]
    (folder / "users.csv").write_text(csv(("user", "a region. (home)"), *users))
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"deduplicate": True, "min_user_events": 3, "min_value": 1, "split": "time"},
        {"order": "random", "social_direction": "in"},
    ],
    ids=str,
)
def test_spark_and_duckdb_make_one_world_of_an_odd_shop(spark, tmp_path, options):
    # signs that stand for other things in patterns and addresses
    folder = tmp_path / "run [1] {2} 5%"
    source = write_odd_shop(folder / "raw")
    manifest = assert_same_world(source, folder, max_bad_share=0.3, **options)
    counts = manifest["counts"]
    assert counts["rejected"]["events"] > 1
    assert counts["rejected"]["items"] == 1, "a vector of another length"
    assert counts["rejected"]["repeated_items"] == 2
    rejected = pq.read_table(folder / "spark" / "rejected.parquet").to_pylist()
    assert {Path(row["file"]).name for row in rejected} >= {"a.csv", "b.jsonl", "items.jsonl"}


def test_spark_and_duckdb_make_one_world_of_a_synthetic_shop(spark, tmp_path):
    write_synthetic_shop(tmp_path / "raw", num_users=200, num_items=80)
    assert_same_world(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("name", ["ml1m_sasrec", "ciao"])
def test_spark_and_duckdb_make_one_world_of_public_sets(spark, tmp_path, name):
    if not (SHARED / name).exists():
        pytest.skip(f"data set {name} is not here")
    assert_same_world(SHARED / name, tmp_path)


def test_what_a_task_cannot_read_is_one_line(spark, tmp_path):
    folder = write_tables(tmp_path / "raw", "csv")
    with (folder / "events.csv").open("a") as file:
        file.write('u1,"i1,5,view,1\n')
    with pytest.raises(BadData, match="opens a quote that is never closed") as error:
        world_of(folder, tmp_path / "world", **SPARK)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "world").exists()

    problems = check(folder, DataConfig(**SPARK)).problems
    assert str(error.value) in [problem.message for problem in problems]


def test_a_failure_of_spark_is_one_line(spark, tmp_path):
    failing = "SELECT raise_error('the disk of a machine is full')"
    with (
        pytest.raises(Unavailable, match="the disk of a machine is full") as error,
        open_session("local[2]", tmp_path) as session,
    ):
        session.sql(failing).collect()
    assert "\n" not in str(error.value)


def test_without_pyspark_or_java_one_line_says_what_to_install(tmp_path, monkeypatch):
    source = write_tables(tmp_path / "raw", "csv")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyspark", None)
        patch.setitem(sys.modules, "pyspark.sql", None)
        with pytest.raises(Unavailable, match=r"pip install '\.\[spark\]'"):
            world_of(source, tmp_path / "world", **SPARK)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Java 17"):
        check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="JAVA_HOME"):
        check_java()
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize("master", ["", "local[two]", "sc://host", "host:7077"])
def test_a_master_of_an_unknown_kind_is_refused(tmp_path, master):
    source = write_tables(tmp_path / "raw", "csv")
    with pytest.raises(UsageError, match="write local"):
        world_of(source, tmp_path / "world", engine="spark", master=master)


def test_a_world_does_not_remember_its_engine():
    by_spark = manifests.settings(DataConfig(engine="spark", master="yarn"), "time")
    assert by_spark == manifests.settings(DataConfig(), "time")


def test_columns_come_out_of_several_files_in_order(tmp_path):
    tables = [
        {"number": [3, 1], "text": ["é", None], "list": [None, [1.0, 2.0]]},
        {"number": [], "text": [], "list": []},
        {"number": [2], "text": [""], "list": [[3.0, 4.0]]},
    ]
    kinds = {"number": pa.int64(), "text": pa.string(), "list": pa.list_(pa.float32())}
    for place, table in enumerate(tables):
        file = tmp_path / f"part-{place}.parquet"
        pq.write_table(pa.table(table, schema=pa.schema(kinds.items())), file)
    parts = Parts.of_folder(tmp_path)
    assert parts.first_rows == [0, 2, 2]
    np.testing.assert_array_equal(parts.column("number", np.int32), [3, 1, 2])
    assert list(parts.strings("text")) == ["é", "", ""]
    owners, lists = parts.lists("list")
    np.testing.assert_array_equal(owners, [1, 2])
    np.testing.assert_array_equal(lists, [[1, 2], [3, 4]])
