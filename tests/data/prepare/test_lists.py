"""Columns of lists, whose parts are events or friends; published splits, whose parts are one."""

from __future__ import annotations

import json

import duckdb
import pytest

from socialrec_jax.errors import BadData
from tests.data.prepare.odd_shops import BEGIN, EVENTS, csv, items_in_order, lines, prepared, users

LATER = BEGIN + 60


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.csv", f"user,items,ts\nu,i0;i1,{BEGIN}\nu,i2,{LATER}\n"),
        ("events.csv", f"user|basket|ts\nu|\"['i0', 'i1']\"|{BEGIN}\nu|\"['i2']\"|{LATER}\n"),
        ("events.csv", f'user,item,ts\nu,"[i0, i1]",{BEGIN}\nu,[i2],{LATER}\n'),
        ("events.csv", f'user,items,ts\nu,"{{i0,i1}}",{BEGIN}\nu,{{i2}},{LATER}\n'),
        (
            "events.jsonl",
            lines(
                {"user": "u", "ts": BEGIN, "products": ["i0", "i1"]},
                {"user": "u", "ts": LATER, "products": []},
                {"user": "u", "ts": LATER, "products": ["i2"]},
            ),
        ),
        (
            "events.jsonl",
            lines(
                {"id": 1, "user": "u", "ts": BEGIN, "items": [{"sku": "i0"}, {"sku": "i1"}]},
                {"id": 2, "user": "u", "ts": LATER, "items": [{"sku": "i2", "quantity": 2}]},
            ),
        ),
    ],
)
def test_each_item_of_an_order_is_an_event(tmp_path, caplog, name, content):
    world = prepared(tmp_path, {name: content})
    assert (users(world), items_in_order(world)) == (["u"], ["i0", "i1", "i2"])
    assert world.events.times.tolist() == [BEGIN, BEGIN, LATER]
    assert "holds lists" in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("social.csv", "user,friends\nu,v;w\nv,w\n"),
        ("social.csv", "user_id,friend_list\nu,\"['v', 'w']\"\nv,\"['w']\"\n"),
        (
            "social.jsonl",
            lines({"user": "u", "following": ["v", "w"]}, {"user": "v", "following": ["w"]}),
        ),
    ],
)
def test_each_friend_of_a_list_is_an_edge(tmp_path, name, content):
    files = {"events.csv": EVENTS, name: content}
    world = prepared(tmp_path, files, social_direction="out")
    assert (users(world), len(world.friends.ids)) == (["u", "v", "w"], 3)


ROWS = [{"user": "u", "item": f"i{n}", "ts": BEGIN + n} for n in range(3)]


@pytest.mark.parametrize(
    "document",
    [
        json.dumps(ROWS, indent=1),
        json.dumps({"data": ROWS}),
        json.dumps({"data": ROWS}, indent=1),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        json.dumps([{"user": "u", "ts": BEGIN, "items": ["i0", "i1", "i2"]}]),
    ],
)
def test_documents_of_json_hold_rows(tmp_path, document):
    world = prepared(tmp_path, {"events.json": document})
    assert items_in_order(world) == ["i0", "i1", "i2"]


@pytest.mark.parametrize(("column", "value"), [("items", "3"), ("clicks", '"1,234"')])
def test_a_count_of_items_is_no_list(tmp_path, column, value):
    with pytest.raises(BadData, match="need a column item"):
        prepared(tmp_path, {"events.csv": f"user,ts,{column}\nu,{BEGIN},{value}\n"})


def test_lists_of_parquet_are_rows(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = f"SELECT 'u' AS user, {BEGIN} AS ts, ['i0', 'i1'] AS items"
    duckdb.execute(f"COPY ({rows}) TO '{tmp_path}/raw/events.parquet'")
    assert items_in_order(prepared(tmp_path, {})) == ["i0", "i1"]


def test_a_bad_row_of_a_list_names_its_line(tmp_path):
    files = {"events.csv": EVENTS, "social.csv": "# a\n\nuser,friends\nu,v;w\n,w\n"}
    with pytest.raises(BadData, match=r"social\.csv line 5, column src"):
        prepared(tmp_path, files)


def test_the_parts_of_a_published_split_are_joined_and_named(tmp_path, caplog):
    header = ("user", "item", "timestamp")
    parts = {f"{name}.csv": csv(header, ("u", name, BEGIN)) for name in ("train", "test", "valid")}
    # one time, so that the order is that of the parts
    assert items_in_order(prepared(tmp_path, parts)) == ["train", "valid", "test"]
    assert "a published split" in caplog.text
