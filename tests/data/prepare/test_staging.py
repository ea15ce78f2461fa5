"""Reading raw tables: every kind of file says the same, every bad row is reported, every mistake is
one line.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import duckdb
import pytest

from socialrec_jax.data.prepare import rejects
from socialrec_jax.data.prepare.engines.duckdb import engine as duckdb_engine
from socialrec_jax.data.prepare.engines.duckdb.engine import open_duckdb
from socialrec_jax.data.prepare.readers import sources_under
from socialrec_jax.data.prepare.schema import TABLES
from socialrec_jax.errors import BadData, InputMissing
from tests.data.prepare.small_tables import write_tables


def read(path: Path, table: str = "events"):
    """(good rows, rejects) of one table."""
    scratch = path.parent / ".scratch"
    scratch.mkdir(exist_ok=True)
    with open_duckdb(scratch) as engine:
        parts = engine.stage(table, sources_under(path))
        query = f"SELECT * EXCLUDE (row, bad, raw) FROM {table} ORDER BY row"
        good = engine.con.execute(query).fetchall()
        return good, list(rejects.find_rejects(engine, table, parts))


def times(path: Path) -> list[int | None]:
    return [row[-1] for row in read(path)[0]]


def csv_of(folder: Path, *stamps: str) -> Path:
    path = folder / "events.csv"
    path.write_text("user,item,timestamp\n" + "".join(f"u,i,{stamp}\n" for stamp in stamps))
    return path


def test_lines_of_bad_csv_rows_count_header_blank_lines_and_breaks_in_quotes(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        'user,item,ts,value,note\nu1,a,1,,"two\nlines"\n\n,a,2,,\nu1,a,nan,,\nu1,a\n'
        "u1,a,3,,,x\nu1,a,soon,,\nu1,a,4,much,\n"
    )
    good, bad = read(path)
    assert len(good) == 1
    assert [(row.line, row.column, row.value) for row in bad if row.column != "ts"] == [
        (5, "user", None),
        (6, "timestamp", "nan"),
        (8, None, "u1,a,3,,,x"),
        (9, "timestamp", "soon"),
        (10, "value", "much"),
    ]
    assert [(row.line, row.value) for row in bad if row.column == "ts"] == [(7, "u1,a")]
    assert all(row.file == str(path) and row.table == "events" and row.reason for row in bad)


def test_lines_of_bad_rows_in_each_part_of_a_folder(tmp_path):
    folder = tmp_path / "events"
    folder.mkdir()
    for part in "ab":
        duckdb.execute(
            "COPY (SELECT 'u' AS user, nullif('i' || range, 'i2') AS item, range AS time "
            f"FROM range(5)) TO '{folder}/{part}.parquet'"
        )
    (folder / "c.jsonl").write_text(
        '{"user": 1, "item": 2, "ts": 3}\n\n{"user": 1,\n{"user": [1], "item": 2, "ts": 3}\n'
    )
    (folder / "_SUCCESS").write_text("")
    good, bad = read(folder)
    assert [row[1] for row in good] == ["i0", "i1", "i3", "i4"] * 2 + ["2"]
    assert [(Path(row.file).name, row.line, row.column) for row in bad] == [
        ("a.parquet", 3, "item"),
        ("b.parquet", 3, "item"),
        ("c.jsonl", 3, None),
        ("c.jsonl", 4, "user"),
    ]


def test_a_bad_row_in_the_last_of_many_parts_is_found(tmp_path):
    folder = tmp_path / "events"
    folder.mkdir()
    for part in range(16):
        (folder / f"{part:02}.csv").write_text("user,item,timestamp,value\nu,i,1577872800,1\n")
    (folder / "16.csv").write_text("user,item,timestamp,value\nu,i,soon,1\nu,i,1577872800,x\n")
    good, bad = read(folder)
    assert len(good) == 16
    reasons = [(Path(row.file).name, row.line, row.column, row.value) for row in bad]
    assert reasons == [("16.csv", 2, "timestamp", "soon"), ("16.csv", 3, "value", "x")]


def test_one_moment_in_every_spelling_is_one_time(tmp_path):
    query_times = [
        "1577872800",
        "1577872800.9",
        "1.5778728e9",
        "2020-01-01T10:00:00Z",
        "2020-01-01 12:00:00+02:00",
    ]
    assert times(csv_of(tmp_path, *query_times)) == [1577872800] * len(query_times)
    for digits in ("000", "000000", "000000000"):
        assert times(csv_of(tmp_path, "1577872800" + digits, "1577872801" + digits)) == [
            1577872800,
            1577872801,
        ]


@pytest.mark.parametrize(
    "kind", ["DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP_MS", "TIMESTAMP_NS", "VARCHAR"]
)
def test_typed_parquet_times(tmp_path, kind):
    path = tmp_path / "events.parquet"
    columns = f"SELECT 1 AS uid, '2020-01-01'::{kind} AS ts, 2 AS sku"
    duckdb.execute(f"SET TimeZone='UTC'; COPY ({columns}) TO '{path}'")
    assert times(path) == [1577836800]


def test_a_table_speaks_one_unit_of_time(tmp_path):
    good, bad = read(csv_of(tmp_path, "1577872800", "1577872801", "1577872800000"))
    assert len(good) == 2
    assert [(row.line, row.column) for row in bad] == [(4, "timestamp")]


def test_blank_times_are_unknown_and_impossible_ones_bad(tmp_path):
    good, bad = read(csv_of(tmp_path, "", " ", "5", "inf", "-inf", "NaN", "1e300", "32/13/2020"))
    assert [row[-1] for row in good] == [None, None, 5]
    assert [row.line for row in bad] == [5, 6, 7, 8, 9]


def test_ids_are_kept_as_they_are_written(tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [{"user": 7, "item": "007", "ts": 1}, {"user": "É|é", "item": "a,b", "ts": 2}]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    assert [row[:2] for row in read(path)[0]] == [("7", "007"), ("É|é", "a,b")]


def test_synonyms_match_without_case_and_punctuation(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("User ID;Product_Id;DateTime;Rating\nu;i;5;2.5\n")
    assert read(path)[0] == [("u", "i", None, 2.5, 5_000_000_000, 5)]


def test_vectors_of_items_are_joined_and_must_be_equally_long(tmp_path):
    path = tmp_path / "items.jsonl"
    rows = [
        {"item": 1, "image_vector": [1, 2], "more": [3]},
        {"item": 2, "image_vector": [1], "more": [3]},
        {"item": 3, "price": None},
        {"item": 4, "image_vector": [1, "x"], "more": [3]},
        {"item": 5, "image_vector": [4, 5], "more": [6]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    good, bad = read(path, "items")
    assert [(row[0], row[-1]) for row in good] == [("1", [1, 2, 3]), ("3", None), ("5", [4, 5, 6])]
    assert [(row.line, row.column) for row in bad] == [(2, "vector"), (4, "image_vector")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("events.csv", b"", "empty"),
        ("events.csv", b"user,item\n1,2\n", "timestamp"),
        ("events.csv", b"user,user,timestamp\n1,2,3\n", "repeated"),
        ("events.csv", b'user,item,ts\n1,2,3\n1,"2,3\n1,2,4\n', "quote"),
        ("events.parquet", b"PAR1 rubbish", "whole"),
        ("events.csv.gz", b"no gzip", "whole"),
        ("events.csv.gz", gzip.compress(b"user,item,ts\n" + b"1,2,3\n" * 9999)[:-20], "whole"),
        ("events.csv.zst", b"no zstd", "whole"),
        ("events.jsonl", b"[1, 2]\n", "JSON object"),
        ("events.jsonl", b'{"user": [1], "item": 2, "ts": 3}\n', "user"),
        ("events.xlsx", b"x", "unknown kind"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=says) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_a_truncated_zstandard_file_is_noticed(tmp_path):
    path = tmp_path / "events.csv.zst"
    duckdb.execute(
        "COPY (SELECT range AS user, hash(range) AS item, range AS ts FROM range(99999)) "
        f"TO '{path}'"
    )
    assert len(read(path)[0]) == 99999
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadData, match="whole"):
        read(path)


def test_a_column_of_the_wrong_type_names_the_columns_found(tmp_path):
    path = tmp_path / "events.parquet"
    duckdb.execute(f"COPY (SELECT [1] AS user, 2 AS item, 3 AS timestamp) TO '{path}'")
    with pytest.raises(BadData, match=r"user \(INTEGER\[\]\), item \(INTEGER\)"):
        read(path)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("table", list(TABLES))
def test_reading_a_file_joins_nothing(tmp_path, table, suffix):
    """After a join, rows of several threads have no order; DuckDB makes one of a long IN."""
    folder = write_tables(tmp_path / "raw", suffix)
    sources = sources_under(folder / f"{table}.{suffix}")
    with open_duckdb(tmp_path) as engine:
        _, queries = engine.queries_of(table, sources)
        plans = [engine.con.execute(f"EXPLAIN {query.sql}").fetchall() for query in queries]
    assert plans
    assert "JOIN" not in str(plans)


def test_rows_of_several_threads_keep_the_order_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(duckdb_engine, "ONE_THREAD_BYTES", 0)
    path = tmp_path / "events.parquet"
    columns = "'u' AS user, 'i' || range AS item, 1577872800 AS timestamp, 1.0 AS value"
    rows = 40_000
    duckdb.execute(f"COPY (SELECT {columns} FROM range({rows})) TO '{path}' (ROW_GROUP_SIZE 2048)")
    good, bad = read(path)
    assert not bad
    assert [row[1] for row in good] == [f"i{place}" for place in range(rows)]


def test_missing_paths(tmp_path):
    (tmp_path / "events").mkdir()
    for path in (tmp_path / "events", tmp_path / "events.csv"):
        with pytest.raises(InputMissing):
            read(path)
