"""Tables that lie elsewhere: fetched into a folder, or refused with what to do."""

from __future__ import annotations

import contextlib
import sqlite3

import duckdb
import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data.__main__ import run_task
from socialrec_jax.data.prepare.locations import location_of
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.errors import BadData, InputMissing, Unavailable, UsageError
from tests.data.prepare.odd_shops import BEGIN, EVENTS, prepared, titles, users


def fetched(folder, *places: str):
    out = folder / "fetched"
    run_task(["fetch", str(out), *places])
    return prepare(out, folder / "world", DataConfig(), "leave-one-out")


def test_tables_come_from_databases_and_patterns(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (user_id, sku, ts)")
        rows = [(1, "a", BEGIN), (1.0, "b", BEGIN + 5), ("x", "c", BEGIN + 0.5)]
        shop.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
        shop.commit()
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as con:
        con.execute("CREATE SCHEMA web; CREATE TABLE web.items AS SELECT 'a' item, 'Cup' title")
    log = tmp_path / "log" / "date=2020-01-02"
    log.mkdir(parents=True)
    (log / "part.csv").write_text("user,item\n1,d\n")

    places = {"events": [f"{tmp_path}/shop.db#orders", f"{tmp_path}/log/**/*.csv"]}
    places["items"] = [f"{tmp_path}/shop.duckdb#web.items"]
    world = fetched(tmp_path, *(f"{table}={place}" for table in places for place in places[table]))
    assert (users(world), titles(world)) == (["1", "x"], {"a": "Cup", "b": "", "c": "", "d": ""})
    assert max(world.events.times) == BEGIN - 36_000 + 86_400


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        ("orders=shop.db#x", UsageError, "TABLE=PLACE"),
        ("events=shop.db", UsageError, "which table"),
        ("events={}/none.db#x", InputMissing, "no such file"),
        ("events={}/shop.db#x", BadData, "SQLite"),
        ("events={}/*.parquet", InputMissing, "no such file"),
    ],
)
def test_places_with_nothing_are_named(tmp_path, place, error, says):
    (tmp_path / "shop.db").write_text("no database, but a text that is as long as one")
    with pytest.raises(error, match=says):
        fetched(tmp_path, place.format(tmp_path))
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize(
    ("place", "extension"),
    [
        ("s3://shop/*.parquet", "httpfs"),
        ("hf://datasets/a/b.csv", "httpfs"),
        ("postgres:dbname=a password=secret#t", "postgres"),
        ("delta:lake/events", "delta"),
    ],
)
def test_an_extension_that_cannot_be_installed_is_named(tmp_path, monkeypatch, place, extension):
    assert location_of(f"events={place}").extension == extension
    # a place from which nothing can be installed, with or without a network
    monkeypatch.setattr(
        "socialrec_jax.data.prepare.engines.duckdb.fetch._SETTINGS",
        {"extension_directory": str(tmp_path / "none"), "custom_extension_repository": "/none"},
    )
    with pytest.raises(Unavailable, match=f"INSTALL {extension}") as error:
        fetched(tmp_path, f"events={place}")
    assert error.value.code == 69
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("sign", ["_delta_log/0.json", ".hoodie/x", "metadata/v1.metadata.json"])
def test_the_files_of_a_lake_are_not_read_as_they_lie(tmp_path, sign):
    files = {"events/part.csv": EVENTS, f"events/{sign}": "{}"}
    with pytest.raises(BadData, match="no longer valid"):
        prepared(tmp_path, files)


def test_an_address_as_the_folder_says_how_to_fetch_it(tmp_path):
    with pytest.raises(InputMissing, match="fetch FOLDER events=s3://shop/a"):
        run_task(["check", "s3://shop/a"])
