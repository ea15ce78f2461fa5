"""Tables as shops have them: the right rows and names, or one line that says what is wrong."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from socialrec_jax.data.prepare.append import append
from socialrec_jax.errors import BadData, UsageError
from tests.data.prepare.odd_shops import (
    BEGIN,
    EVENTS,
    csv,
    lines,
    prepared,
    times,
    titles,
    users,
)

# ---- Vectors and lists


@pytest.mark.parametrize(
    "column",
    [
        {"features": ["f1", "f2"]},
        {"features": []},
        {"images": [{"large": "http://x"}]},
        {"sizes": [36, 37]},
        {"also_buy": ["B2"]},
        {"details": {"brand": "x"}},
        {"steps": [["a"], ["b"]]},
        {"mixed": [1, "x"]},
        {"price": None},
    ],
)
def test_lists_that_are_no_vectors_lose_nothing(tmp_path, column):
    others = {"features": ["f3"], "sizes": [38], "mixed": [2, 3, 4]}
    second = {key: others.get(key, value) for key, value in column.items()}
    items = lines(
        {"parent_asin": "i1", "title": "T", "price": 5.0, **column},
        {"parent_asin": "i2", "title": "S", "price": 6.0, **second},
        {"parent_asin": "i3", "title": "R"},
    )
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.jsonl": items})
    assert titles(world) == {"i0": "", "i1": "T", "i2": "S", "i3": "R"}
    assert world.items.vectors.shape[1] == 0
    assert world.manifest["counts"]["rejected"]["items"] == 0


def test_unused_lists_are_named(tmp_path, caplog):
    items = lines({"item": "i1", "title": "T", "images": ["a"], "vector": [1, 2]})
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.jsonl": items})
    assert world.items.vectors.shape[1] == 2
    assert "images" in caplog.text


# ---- Folders


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_folder_names_are_columns_only_where_the_file_has_none(tmp_path, suffix):
    for day, own in (("2020-01-01", ", 1577872800 + range AS timestamp"), ("2020-01-02", "")):
        root = tmp_path / f"own{bool(own)}" / "raw" / "events" / f"date={day}"
        root.mkdir(parents=True)
        form = {"parquet": "parquet", "csv": "csv, HEADER", "jsonl": "json"}[suffix]
        rows = f"SELECT 'u' AS user, 'i' || range AS item{own} FROM range(3)"
        duckdb.execute(f"COPY ({rows}) TO '{root}/part.{suffix}' (FORMAT {form})")
    assert times(prepared(tmp_path / "ownTrue", {})) == [BEGIN, BEGIN + 1, BEGIN + 2]
    assert times(prepared(tmp_path / "ownFalse", {})) == [BEGIN - 36000 + 86400] * 3


def test_the_name_of_the_data_folder_is_no_column(tmp_path):
    world = prepared(tmp_path / "date=2024-01-01", {"events.csv": EVENTS})
    assert times(world) == [BEGIN + place for place in range(4)]


# ---- Ids


@pytest.mark.parametrize(
    "spelled",
    [
        '"=""7"""',
        "'7",
        "7.0",
        " 7",
        "7 ",
        "\u200b7",
        "\ufeff7",
        "7\u00a0",
        '"7"',
        '" 7 "',
        "7.00",
        "7\t",
    ],
)
def test_ids_join_however_they_are_written(tmp_path, spelled):
    files = {
        "events.csv": csv(("user", "item", "timestamp"), ("5.0", spelled, BEGIN), ("6", 8, BEGIN)),
        "items.csv": csv(("item", "title"), ("7", "Thing")),
        "social.csv": csv(("src", "dst"), ("5", " 6")),
        "users.csv": csv(("user", "age"), ("5", 33)),
    }
    world = prepared(tmp_path, files)
    assert users(world) == ["5", "6"]
    assert titles(world) == {"7": "Thing", "8": ""}
    assert world.manifest["joins"] == {"items": 1, "social": 1, "users": 1}


def test_ids_that_float_in_parquet_are_whole(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = f"SELECT 5::DOUBLE AS user, 7.0::DECIMAL(9, 2) AS item, {BEGIN} AS timestamp"
    duckdb.execute(f"COPY ({rows}) TO '{tmp_path}/raw/events.parquet'")
    world = prepared(tmp_path, {"items.csv": csv(("item", "title"), (7, "Thing"))})
    assert (users(world), titles(world)) == (["5"], {"7": "Thing"})


def test_tables_that_do_not_join_are_named(tmp_path, caplog):
    files = {"events.csv": EVENTS, "items.csv": csv(("item", "title"), ("x1", "a"), ("x2", "b"))}
    assert prepared(tmp_path, files).manifest["joins"] == {"items": 0}
    assert "items: only 0.0% of the ids occur in events" in caplog.text


@pytest.mark.parametrize(
    "word",
    ["NULL", "NA", "nan", "None", "\\N", "", "-", "(not set)", "?", "[NULL]", "NaT", "#REF!"],
)
def test_words_for_nothing_are_no_people(tmp_path, word):
    rows = [("u", f"i{place}", BEGIN) for place in range(3)]
    files = {"events.csv": csv(("user", "item", "timestamp"), *rows, (word, "i", BEGIN))}
    with pytest.raises(BadData, match=r"--data\.max-bad-share 0\.25"):
        prepared(tmp_path, files)
    assert users(prepared(tmp_path, files, max_bad_share=0.25)) == ["u"]


@pytest.mark.parametrize("odd", ["x" * 2000, "a\0b", "1.23457E+12", "1e+05"])
def test_ids_that_no_shop_has_are_bad_rows(tmp_path, odd):
    rows = [{"user": "u", "item": "i", "ts": BEGIN}, {"user": odd, "item": "i", "ts": BEGIN}]
    world = prepared(tmp_path, {"events.jsonl": lines(*rows)}, max_bad_share=0.5)
    assert users(world) == ["u"]


def test_long_texts_are_cut(tmp_path):
    items = lines({"item": "i1", "title": "x" * 10**6})
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.jsonl": items})
    assert len(titles(world)["i1"]) == 65_536


# ---- Columns


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id,product,price", "i1,Chair,5"),
        ("item_id,item,category", "i1,Chair,c"),
        ("product_name,product_id", "Chair,i1"),
        ("item,item_name,ITEM ID", "x,Chair,i1"),
        ("sku,title,name", "i1,Chair,y"),
        ("item,asin,title", "i1,B1,Chair"),
        ("id,item,title", "1,i1,Chair"),
    ],
)
def test_ids_of_items_go_before_names(tmp_path, header, row):
    files = {"events.csv": EVENTS, "items.csv": f"{header}\n{row}\n"}
    assert titles(prepared(tmp_path, files))["i1"] == "Chair"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("user,user_id,item_id,ts", "Ann,u1,i1,{t}"),
        ("user_id,user,item,item_id,ts", "u1,Ann,Chair,i1,{t}"),
        ("session_id,user_id,product,product_id,ts", "s,u1,Chair,i1,{t}"),
        ("id,user_id,item_id,ts", "1,u1,i1,{t}"),
        (",user,item,timestamp", "0,u1,i1,{t}"),
        ("username,item,timestamp", "u1,i1,{t}"),
    ],
)
def test_ids_of_events_go_before_words(tmp_path, header, row):
    world = prepared(tmp_path, {"events.csv": f"{header}\n{row.format(t=BEGIN)}\n"})
    assert (users(world), list(world.items.ids)) == (["u1"], ["i1"])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("user_id,source,friend_id", "a,web,b"),
        ("from,to,user_id", "a,b,x"),
        ("user_id,follower_id,followee_id", "x,a,b"),
        ("user_id_1,user_id_2", "a,b"),
        ("uid1,uid2", "a,b"),
        ("userA,userB", "a,b"),
        ("target,source", "b,a"),
        ("source_id,target_id", "a,b"),
        ("trustor,trustee", "a,b"),
        ("user,friend", "a,b"),
        ('src,dst,""note""', 'a,b,"x"'),
    ],
)
def test_the_ends_of_an_edge_are_a_pair(tmp_path, header, row):
    files = {"events.csv": EVENTS, "social.csv": f"{header}\n{row}\n"}
    world = prepared(tmp_path, files, social_direction="out")
    owner = int(np.flatnonzero(np.diff(world.friends.offsets))[0])
    names = world.user_ids[owner], world.user_ids[int(world.friends.ids[0])]
    assert names == ("a", "b")


@pytest.mark.parametrize(
    "column", ["bad", "raw", "row", "broken line", "time_", "unit", "stamp", "line", "fields", "'"]
)
def test_columns_may_have_any_name(tmp_path, column):
    rows = [("u", f"i{place}", BEGIN + place, place % 2) for place in range(4)]
    events = csv(("user", "item", "timestamp", column), *rows)
    people = csv(("user", column), ("u", "x"))
    world = prepared(tmp_path, {"events.csv": events, "users.csv": people})
    assert world.manifest["counts"]["events"] == 4
    assert list(world.attributes) == [column]


def test_columns_can_be_named_and_passed_over(tmp_path):
    header = ("buyer_no", "user_id", "ware", "bought", "timestamp")
    files = {"events.csv": csv(header, ("u1", "x", "i1", BEGIN, "2021-01-01"))}
    said = {"map": ("user=buyer_no,item=ware", "timestamp=bought")}
    world = prepared(tmp_path, files, **said)
    assert (users(world), list(world.items.ids), times(world)) == (["u1"], ["i1"], [BEGIN])
    # later tables need not have the columns
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "users.csv").write_text("user,age\nu1,33\n")
    assert append(world, tmp_path / "more", tmp_path / "next").num_users == 1
    files = {"events.csv": csv(("user", "item", "ts", "timestamp"), ("u", "i", BEGIN, 5))}
    assert times(prepared(tmp_path / "other", files, ignore=("timestamp",))) == [BEGIN]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"map": ("user=nobody",)}, "user=nobody"),
        ({"map": ("usr=user",)}, "FIELD=COLUMN"),
        ({"map": ("user=user,item=user",)}, "two fields"),
        ({"types": ("view",)}, "NAME=TYPE"),
        ({"encoding": "latin-99"}, "no such encoding"),
    ],
)
def test_options_that_say_nothing_are_refused(tmp_path, options, says):
    with pytest.raises(UsageError, match=says) as error:
        prepared(tmp_path, {"events.csv": EVENTS}, **options)
    assert error.value.code == 64


def test_part_files_may_spell_columns_in_another_case(tmp_path):
    parts = {"users/a.csv": "user,region\nu,north\n", "users/b.csv": "uid,Region,age\nv,south,5\n"}
    world = prepared(tmp_path, {"events.csv": EVENTS, **parts})
    columns = {name: list(column) for name, column in world.attributes.items()}
    by_user = {user: row for row, user in enumerate(world.user_ids)}
    assert list(columns) == ["region", "age"]
    assert [columns["region"][by_user[user]] for user in "uv"] == ["north", "south"]
    assert [columns["age"][by_user[user]] for user in "uv"] == ["", "5"]


def test_a_header_may_have_blanks_before_quotes(tmp_path):
    header, rows = EVENTS.split("\n", 1)
    quoted = ", ".join(f'"{name}"' for name in header.split(","))
    world = prepared(tmp_path, {"events.csv": f"{quoted}\n{rows}"})
    assert list(world.manifest["columns"]["events"].values()) == ["user", "item", "timestamp"]


def test_a_column_called_a_vector_that_is_none_is_named(tmp_path, caplog):
    items = "item,image_vector\ni0,0.1 0.2\n"
    prepared(tmp_path, {"events.csv": EVENTS, "items.csv": items})
    assert "hold no vectors: image_vector" in caplog.text
