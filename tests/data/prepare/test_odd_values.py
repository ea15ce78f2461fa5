"""Values as shops write them: event types, prices, stock, decimal commas, wrapped values."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.samples import given_values
from socialrec_jax.data.prepare.schema import MISSING
from socialrec_jax.errors import BadData
from tests.data.prepare.odd_shops import (
    BEGIN,
    EVENTS,
    csv,
    events_csv,
    lines,
    parquet,
    prepared,
    times,
    users,
)


@pytest.mark.parametrize(
    "column", ["action_type", "event_name", "interaction_type", "behavior", "Event", "action"]
)
def test_event_types_have_synonyms_and_no_case(tmp_path, column):
    types = ["view", "View", " view", "BUY", "buy", "NULL", ""]
    rows = [("u", f"i{n}", BEGIN + n, kind) for n, kind in enumerate(types)]
    world = prepared(tmp_path, {"events.csv": csv(("user", "item", "ts", column), *rows)})
    assert [name.lower() for name in world.event_types] == ["view", "buy", "event"]


def test_event_types_can_be_one(tmp_path):
    kinds = ["click", "pv", "View", "order"]
    rows = [("u", f"i{n}", BEGIN + n, kind) for n, kind in enumerate(kinds)]
    files = {"events.csv": csv(("user", "item", "ts", "type"), *rows)}
    world = prepared(tmp_path, files, types=("view=click,pv", "buy=order"))
    assert world.event_types == ["view", "buy"]
    grown = append(world, tmp_path / "raw", tmp_path / "grown")
    assert grown.event_types == ["view", "buy"]


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("$12.99", 12.99),
        ("12,99 €", 12.99),
        ("1.234,56", 1234.56),
        ("1,234.56", 1234.56),
        ("USD 5", 5),
        ("from 3.50", 3.5),
        ("on request", None),
        ("£1,299", 1299),
        ("R$ 1.299", 1299),
        ("1.299.000 ₫", 1299000),
        ("KWD 1.299", 1.299),
        ("€ 0.299", 0.299),
        ("1.299", 1.299),
        ("7", 7),
        ("$.99", 0.99),
        ("Rs.500", 500),
        ("1\u00a0299,00 kr", 1299),
        ("CHF 1\u2019299.00", 1299),
        ("500 g € 3,50", 3.5),
        ("2 for $5.00", 5),
        ("12,99 € 15,99 €", 12.99),
    ],
)
def test_prices_are_written_in_many_ways(tmp_path, written, price):
    items = csv(("item", "price", "available"), ("i1", f'"{written}"', "in stock"))
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.csv": items})
    expected = np.float32(np.nan if price is None else price)
    np.testing.assert_equal(world.items.prices[world.items.ids.lookup(["i1"])[0]], expected)


@pytest.mark.parametrize(
    ("column", "prices"),
    [
        (["1.299", "12,90", "1.299,00", "7"], [1299, 12.9, 1299, 7]),
        (["1.299", "12.90", "1,299.00", "7"], [1.299, 12.9, 1299, 7]),
        (["1,299", "12.90"], [1299, 12.9]),
    ],
)
def test_a_column_of_prices_has_one_sign_for_decimals(tmp_path, column, prices):
    rows = [(f"i{place}", f'"{price}"') for place, price in enumerate(column)]
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.csv": csv(("item", "price"), *rows)})
    places = world.items.ids.lookup([item for item, _ in rows])
    np.testing.assert_allclose(world.items.prices[places], prices, rtol=1e-6)


@pytest.mark.parametrize(
    ("word", "available"),
    [("in stock", True), ("Out of stock", False), ("17", True), ("0", False), ("nan", True)],
)
def test_stock_is_said_in_words(tmp_path, word, available):
    items = csv(("item", "in_stock"), ("i1", word))
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.csv": items})
    assert world.items.available[world.items.ids.lookup(["i1"])[0]] == available


def test_an_optional_column_of_words_is_no_number(tmp_path, caplog):
    rows = [("u", f"i{n}", BEGIN + n, "like") for n in range(4)]
    files = {"events.csv": csv(("user", "item", "ts", "value"), *rows)}
    assert prepared(tmp_path, files).events.values.tolist() == [1] * 4
    assert "'like' is no number" in caplog.text


def test_a_decimal_comma_is_read(tmp_path):
    files = {"events.csv": f"user;item;ts;rating\nu;i;{BEGIN};4,5\n"}
    assert prepared(tmp_path, files).events.values.tolist() == [4.5]


def test_values_that_mongodb_wraps(tmp_path):
    row = {
        "_id": {"$oid": "5f1"},
        "user": {"$oid": "u1"},
        "item": {"$numberLong": "7"},
        "ts": {"$date": {"$numberLong": f"{BEGIN}000"}},
    }
    other = {**row, "ts": {"$date": f"{BEGIN + 1}000"}}
    world = prepared(tmp_path, {"events.jsonl": lines(row, other)})
    assert (users(world), list(world.items.ids)) == (["u1"], ["7"])
    assert times(world) == [BEGIN, BEGIN + 1]


def test_repeated_events_can_be_rejected(tmp_path, caplog):
    files = {"events.csv": EVENTS + f"u,i3,{BEGIN + 3}\n"}
    assert prepared(tmp_path, files).manifest["counts"]["events"] == 5
    assert "1 of 5 repeat user, item, time and type" in caplog.text
    counts = prepared(tmp_path, files, deduplicate=True).manifest["counts"]
    assert (counts["events"], counts["rejected"]["repeated_events"]) == (4, 1)


def test_nothing_to_test_is_said(tmp_path, caplog):
    prepared(tmp_path, {"events.csv": events_csv(BEGIN, BEGIN + 1)})
    assert "nothing is left to test on" in caplog.text


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", ""])
def test_words_for_nothing_are_no_values_or_types(tmp_path, word):
    rows = [("u", f"i{n}", BEGIN + n, word, word) for n in range(3)]
    header = ("user", "item", "timestamp", "value", "event_type")
    world = prepared(tmp_path, {"events.csv": csv(header, *rows)})
    assert world.events.values.tolist() == [1, 1, 1]
    assert world.event_types == ["event"]


@pytest.mark.parametrize(
    ("written", "tags"),
    [
        ("['red', 'big']", "red|big"),
        ('["red","big"]', "red|big"),
        ("[red, big]", "red|big"),
        ("[]", ""),
        ("red|big", "red|big"),
        ("[red", "[red"),
        ("[{'name': 'red'}]", "red"),
        ('{red,"very big"}', "red|very big"),
        ("{}", ""),
    ],
)
def test_lists_that_are_written_as_text_are_tags(tmp_path, written, tags):
    quoted = written.replace('"', '""')
    files = {"events.csv": EVENTS, "items.csv": f'item,tags\ni1,"{quoted}"\n'}
    world = prepared(tmp_path, files)
    assert world.items.tags[world.items.ids.lookup(["i1"])[0]] == tags


def test_ids_that_look_the_same_are_the_same(tmp_path):
    rows = [("Cafe\u0301", "a", BEGIN), ("Caf\u00e9", "b", BEGIN + 1)]
    world = prepared(tmp_path, {"events.csv": csv(("user", "item", "ts"), *rows)})
    assert users(world) == ["Caf\u00e9"]


@pytest.mark.parametrize(("sql_type", "exact"), [("DOUBLE", 2**53), ("FLOAT", 2**24)])
def test_ids_that_a_float_has_rounded_are_bad(tmp_path, sql_type, exact):
    (tmp_path / "raw").mkdir()
    query = f"SELECT ({exact} + range * 2)::{sql_type} AS user, 1 AS item, {BEGIN} AS ts"
    target = tmp_path / "raw" / "events.parquet"
    duckdb.execute(f"COPY ({query} FROM range(3)) TO '{target}' (FORMAT parquet)")
    with pytest.raises(BadData, match=f"2 of 3 .* more than a {sql_type} holds exactly"):
        prepared(tmp_path, {})


def test_booleans_are_values(tmp_path):
    rows = [{"user": "u", "item": f"i{n}", "ts": BEGIN + n, "value": bool(n)} for n in range(2)]
    path = tmp_path / "raw" / "events.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert prepared(tmp_path, {}).events.values.tolist() == [0, 1]


@pytest.mark.parametrize("word", MISSING)
def test_words_for_nothing_are_no_values_of_a_sample(word):
    assert given_values([word, word.upper(), f" {word} ", "", None, "4.5"]) == ["4.5"]


def test_values_have_one_sign_for_decimals(tmp_path):
    rows = [("u", f"i{n}", BEGIN + n, value) for n, value in enumerate(["1.234", "12,5", "2.000"])]
    events = "".join(
        ";".join(map(str, row)) + "\n" for row in [("user", "item", "ts", "value"), *rows]
    )
    world = prepared(tmp_path, {"events.csv": events})
    assert world.events.values.tolist() == [1234, 12.5, 2000]


def test_codes_of_types_may_be_floats(tmp_path):
    rows = [("u", f"i{n}", BEGIN + n, code) for n, code in enumerate(["1.0", "1", "4.0"])]
    world = prepared(tmp_path, {"events.csv": csv(("user", "item", "ts", "behavior_type"), *rows)})
    assert world.event_types == ["1", "4"]


@pytest.mark.parametrize("separator", [";", ",", "; ", "|", "，", "、"])
def test_tags_are_taken_apart_where_parts_come_again(tmp_path, separator):
    tags = [separator.join(parts) for parts in (["red", "soft"], ["red", "hard"], ["soft"])]
    rows = [(f"i{n}", f'"{tag}"') for n, tag in enumerate(tags)]
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.csv": csv(("item", "tags"), *rows)})
    of_item = dict(zip(world.items.ids, world.items.tags, strict=True))
    assert [of_item[f"i{n}"] for n in range(3)] == ["red|soft", "red|hard", "soft"]


def test_a_comma_within_a_tag_separates_nothing(tmp_path):
    items = csv(("item", "tags"), ("i1", '"Clothing, Shoes"'), ("i2", "Toys"))
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.csv": items})
    assert "Clothing, Shoes" in list(world.items.tags)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<b>Nice</b> &amp; soft", "Nice & soft"),
        ("It&#39;s &lt; 5 cm", "It's < 5 cm"),
        ("a < b > c & d", "a < b > c & d"),
        ("I <3 jazz", "I <3 jazz"),
    ],
)
def test_texts_have_no_markup(tmp_path, written, read):
    items = csv(("item", "title"), ("i1", f'"{written}"'))
    assert read in list(prepared(tmp_path, {"events.csv": EVENTS, "items.csv": items}).items.titles)


def test_tags_may_be_names_of_objects(tmp_path, caplog):
    genres = "[{'id': 18, 'name': 'Drama'}, {'id': 1, 'name': \"Children's\"}]"
    items = lines({"item": "i1", "title": {"en": "Cup"}, "genres": genres})
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.jsonl": items})
    assert "Drama|Children's" in list(world.items.tags)
    tags = [{"id": 1, "name": "red"}, {"id": 2, "name": "big"}]
    for name, content in (
        ("items.jsonl", lines({"item": "i1", "tags": tags}, {"item": "i2", "tags": []})),
        ("items.parquet", parquet(item=["i1", "i2"], tags=[tags, []])),
    ):
        files = {"events.csv": EVENTS, name: content}
        world = prepared(tmp_path / name, files)
        assert sorted(world.items.tags)[-1] == "red|big"
    assert "title holds objects" in caplog.text
