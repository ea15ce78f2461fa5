"""Files and rows that would count twice, vanish, or be no rows at all."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.prepare.part_names import in_natural_order
from socialrec_jax.errors import BadData
from tests.data.prepare.odd_shops import (
    BEGIN,
    EVENTS,
    HEADER,
    IN_ORDER,
    csv,
    items_in_order,
    lines,
    parquet,
    prepared,
    titles,
    users,
)


@pytest.mark.parametrize(
    "files",
    [
        {"events/part.csv": EVENTS, "events/part (1).csv": EVENTS},
        {"events/a.csv": EVENTS, "events/backup/a.csv": EVENTS},
        {
            "Books.json": lines({"user_id": "u", "asin": "B1", "timestamp": BEGIN}),
            "Books_5.json": lines({"user_id": "u", "asin": "B1", "timestamp": BEGIN}),
        },
        {
            f"goodreads_{part}_poetry.json": lines({"user_id": "u", "book_id": 1, "ts": BEGIN})
            for part in ("reviews", "interactions")
        },
    ],
)
def test_events_that_would_count_twice_are_refused(tmp_path, files):
    with pytest.raises(BadData, match="the same rows"):
        prepared(tmp_path, files)


def test_part_files_without_rows_may_be_alike(tmp_path):
    empty = {f"events/{name}.csv": csv(HEADER) for name in "bc"}
    world = prepared(tmp_path, {"events/a.csv": EVENTS, **empty})
    assert len(world.events.items) == 4


def test_part_2_is_read_before_part_10(tmp_path):
    names = ["part-2.csv", "part-10.csv", "part.csv", "a/1", "a/b"]
    assert sorted(map(tmp_path.joinpath, names), key=in_natural_order) == [
        tmp_path / name for name in ("a/1", "a/b", "part-2.csv", "part-10.csv", "part.csv")
    ]


def test_a_key_that_comes_twice_says_nothing(tmp_path):
    row = {"user": "u", "item": "i1", "ts": BEGIN}
    twice = json.dumps(row).replace("}", ', "item": "i2"}\n')
    files = {"events.jsonl": lines(row) + twice}
    with pytest.raises(BadData, match=r"events\.jsonl line 2: .* with each key once"):
        prepared(tmp_path, files)
    assert items_in_order(prepared(tmp_path, files, max_bad_share=0.5)) == ["i1"]


@pytest.mark.parametrize(
    "files",
    [
        {"events.csv": EVENTS + "Total,4,\n"},
        {"events.csv": EVENTS, "items.csv": "item,title,price\nstring,string,float\ni0,T,5\n"},
        {"events.csv": EVENTS, "items.csv": "item,title\n----,-----\ni0,T\n"},
        {"events.csv": EVENTS, "items.csv": "item,title\ni0,T\n\ufeffitem,title\ni1,S\n"},
    ],
)
def test_rows_that_describe_the_table_are_bad(tmp_path, files):
    world = prepared(tmp_path, files, max_bad_share=0.5)
    assert (users(world), sorted(world.items.ids)) == (["u"], IN_ORDER)


def test_parquet_that_would_be_read_wrongly_is_refused(tmp_path):
    wide = pa.array([7, 8], pa.decimal256(50, 0))
    events = parquet(user=wide, item=["i", "j"], timestamp=[BEGIN] * 2)
    with pytest.raises(BadData, match="more than 38 digits"):
        prepared(tmp_path, {"events.parquet": events})

    sink = pa.BufferOutputStream()
    columns = [pa.array(["u"]), pa.array(["v"]), pa.array(["i"]), pa.array([BEGIN])]
    pq.write_table(pa.table(columns, names=["user", "user", "item", "timestamp"]), sink)
    with pytest.raises(BadData, match="repeated names"):
        prepared(tmp_path / "two", {"events.parquet": sink.getvalue().to_pybytes()})


def test_quotes_that_join_rows_are_refused(tmp_path):
    names = ["T0", '"T1', "T2", 'T3"', "T4"]
    rows = [(f"i{place}", name) for place, name in enumerate(names)]
    with pytest.raises(BadData, match="quotes join lines"):
        prepared(tmp_path, {"events.csv": EVENTS, "items.csv": csv(("item", "title"), *rows)})
    # a line break in a text, and blank lines
    text = '"a, b\nc, d"'
    world = prepared(
        tmp_path / "break", {"events.csv": EVENTS, "items.csv": f"item,title\n\ni0,{text}\n\n"}
    )
    assert titles(world)["i0"] == text.strip('"')


def test_objects_in_lists_of_parquet_are_rows(tmp_path):
    parts = [[{"item_id": "i0", "value": 2.0}, {"item_id": "i1", "value": 3.0}], []]
    events = parquet(user=["u", "v"], ts=[BEGIN, BEGIN], value=[9.0, 9.0], items=parts)
    world = prepared(tmp_path, {"events.parquet": events})
    assert items_in_order(world) == ["i0", "i1"]
    assert world.events.values.tolist() == [2, 3]
