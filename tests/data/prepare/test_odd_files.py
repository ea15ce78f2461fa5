"""Files as shops have them: encodings, archives, line ends, public layouts; nothing read twice."""

from __future__ import annotations

import functools
import gzip
import io
import json
import zipfile

import pytest

from socialrec_jax.errors import BadData, UsageError, UserError
from tests.data.prepare.odd_shops import (
    BEGIN,
    EVENTS,
    csv,
    items_in_order,
    lines,
    prepared,
    times,
    titles,
)

# Without the time, which would be a part of a test's name.
gzipped = functools.partial(gzip.compress, mtime=0)


def zipped(name: str, text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, text)
    return archive.getvalue()


AS_ARRAY = json.dumps([{"user": "u", "item": f"i{n}", "ts": BEGIN + n} for n in range(4)], indent=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.csv", EVENTS.encode("utf-16")),
        ("events.csv", EVENTS.encode("utf-16-le")),
        ("events.csv", EVENTS.encode("utf-8-sig")),
        ("events.csv", EVENTS.replace("\n", "\r").encode()),
        ("events.csv", EVENTS.replace("\n", "\r\n").encode()),
        ("EVENTS.CSV", EVENTS.encode()),
        ("events.CSV.GZ", gzipped(EVENTS.encode())),
        ("events.txt", EVENTS.replace(",", "\t").encode()),
        ("events.txt", EVENTS.replace(",", "::").encode()),
        ("events.csv", EVENTS.replace(",", "|").encode()),
        ("events.tsv", EVENTS.encode()),
        ("events.txt", EVENTS.replace(",", "   ").encode()),
        ("events.csv.zip", zipped("events.csv", EVENTS)),
        ("events.zip", zipped("export.csv", EVENTS)),
        ("events.json", AS_ARRAY.encode()),
        ("events.json", b"\xef\xbb\xbf" + AS_ARRAY.encode()),
        ("events/year=2020/part.csv", EVENTS.encode()),
        ("events/[a]*?.csv", EVENTS.encode()),
        ("events/it's.csv", EVENTS.encode()),
    ],
)
def test_files_in_odd_dress_are_the_same_events(tmp_path, name, content):
    world = prepared(tmp_path, {name: content})
    assert items_in_order(world) == ["i0", "i1", "i2", "i3"]
    assert times(world) == [BEGIN + place for place in range(4)]
    assert not list(world.path.glob("copies"))


def test_the_encoding_can_be_said(tmp_path):
    files = {"events.csv": EVENTS.replace("i3", "Café").encode("latin-1")}
    with pytest.raises(BadData, match=r"--data\.encoding"):
        prepared(tmp_path, files)
    for encoding in ("latin-1", "cp1252"):
        world = prepared(tmp_path / encoding, files, encoding=encoding)
        assert "Café" in list(world.items.ids)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bytes_that_are_no_text_are_bad_rows_wherever_they_lie(tmp_path, suffix):
    rows = [("a", "b", "c", "d", "u", f"i{n}", BEGIN + n, "é") for n in range(3)]
    rows.append(("a", "b", "é", "d", "u", "Café", BEGIN, "e"))
    header = ("x", "y", "z", "note", "user", "item", "date", "time")
    text = csv(header, *rows).replace("é", "\xe9").encode("latin-1")
    items = csv(("item", "w", "price", "v"), ("i1", "w", '"5,50 €"', "é")).encode("cp1252")
    files = {"events.csv" + suffix: gzipped(text) if suffix else text, "items.csv": items}
    with pytest.raises(BadData, match=r"--data\.encoding"):
        prepared(tmp_path, files)
    world = prepared(tmp_path, files, encoding="cp1252", map=("timestamp=date",))
    assert items_in_order(world) == ["i0", "Café", "i1", "i2"]
    assert world.items.prices[world.items.ids.lookup(["i1"])[0]] == 5.5


def test_paths_are_no_patterns(tmp_path):
    other = EVENTS.replace("u,", "v,")
    world = prepared(tmp_path, {"events/[ab].csv": EVENTS, "events/a.csv": other})
    assert world.manifest["counts"]["events"] == 8
    assert items_in_order(world) == ["i0", "i1", "i2", "i3"] * 2


def test_notes_beside_part_files_are_no_parts(tmp_path, caplog):
    files = {"events/README.md": "x", "events/LICENSE": "x", "events/a.csv": EVENTS}
    assert len(times(prepared(tmp_path, files))) == 4
    assert "LICENSE, README.md" in caplog.text


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"events.csv": ""}, "empty"),
        ({"events.csv": "\ufeff"}, "empty"),
        ({"events.csv.gz": gzipped(b"")}, "empty"),
        ({"events.jsonl": '{"user": "é"}'.encode("latin-1")}, "--data.encoding"),
        ({"events.jsonl": '{"user": {"id": 1}, "item": 2, "ts": 3}'}, "cannot be read as user"),
        ({"events.csv": "user,item,timestamp\n"}, "no usable rows"),
        ({"events.csv": "1,2,1577872800\n3,4,1577872801\n"}, "first line looks like data"),
        ({"events.csv": "who,what,timestamp\na,b,1\n"}, "--data.map user=COLUMN"),
        ({"events.csv": "user,item,bought_at\na,b,1\n"}, "--data.map timestamp=bought_at"),
        ({"events.csv": "user,item,boughtAt\na,b,1\n"}, "--data.map timestamp=boughtAt"),
        ({"events.csv": EVENTS.replace(",", "§")}, r"--data\.sep"),
        ({"events.xlsx": b"PK"}, "save it as .csv"),
        ({"events.csv": gzipped(EVENTS.encode())}, "end with .gz"),
        ({"events.csv": b"PK\x03\x04 a workbook"}, "save it as .csv"),
        ({"events.jsonl": b"PAR1 rows"}, "end with .parquet"),
        ({"events.csv": EVENTS, "events.csv.gz": gzipped(b"x")}, "both events"),
        ({"events/a.csv": EVENTS, "events/a.csv.gz": gzipped(b"x")}, "same rows"),
        ({"events.json": "[1, 2"}, "JSON array"),
        ({"events.json": "[]"}, "no line is a JSON object"),
        ({"events.csv.zip": b"PK no archive"}, "whole"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, files, says):
    is_refused(tmp_path, files, says)


@pytest.mark.parametrize("before", ["", "user,item\n", EVENTS], ids=["alone", "header", "rows"])
def test_a_line_without_end_is_refused(tmp_path, before):
    # Made here: every test process imports this file.
    content = before.encode() + bytes(1 << 26)
    is_refused(tmp_path, {"events.csv.gz": gzipped(content)}, "33,554,432 characters")


def test_an_unpacked_line_without_end_is_refused(tmp_path):
    files = {"events.csv": EVENTS.encode() + bytes(1 << 26)}
    is_refused(tmp_path, files, "33,554,432 characters")


def is_refused(tmp_path, files: dict, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        prepared(tmp_path, files)
    assert "\n" not in str(error.value)
    assert error.value.code in (65, 66)


def test_files_that_are_not_read_are_named(tmp_path, caplog):
    files = {"events.csv": EVENTS, "catalogue.csv": "item,title\n", "README.md": "x"}
    prepared(tmp_path, files)
    assert "README.md, catalogue.csv" in caplog.text


REVIEW = lines({"user_id": "u", "parent_asin": "B", "rating": 5, "timestamp": BEGIN * 1000})
ATOMIC = f"user_id:token\titem_id:token\ttimestamp:float\nu\ti\t{BEGIN}\n"


@pytest.mark.parametrize(
    "files",
    [
        {"a.json": REVIEW, "a.json.gz": gzipped(REVIEW.encode())},
        {"x.inter": ATOMIC, "x.train.inter": ATOMIC},
    ],
)
def test_public_files_that_lie_there_twice_are_refused(tmp_path, files):
    with pytest.raises(BadData, match="same rows"):
        prepared(tmp_path, files)


def test_parts_of_a_public_split_are_read_in_their_order(tmp_path):
    header, row = ATOMIC.split("\n")[:2]
    files = {
        f"x.{part}.inter": f"{header}\n{row.replace('i', item)}\n"
        for part, item in (("train", "a"), ("valid", "b"), ("test", "c"))
    }
    assert items_in_order(prepared(tmp_path, files)) == ["a", "b", "c"]


def test_amazon_metadata_of_2018(tmp_path):
    product = {
        "asin": "B",
        "title": "Soap",
        "feature": [],
        "also_buy": ["B2", "B3"],
        "category": ["Beauty", "Bath"],
        "price": "$3.50",
        "description": ["Mild."],
        "rank": "12 in Beauty",
    }
    review = {"reviewerID": "u", "asin": "B", "overall": 5.0, "unixReviewTime": BEGIN}
    review |= {"reviewTime": "01 1, 2020", "style": {"Size:": "L"}, "image": ["http://x"]}
    files = {"Beauty.json": lines(review), "meta_Beauty.json": lines(product)}
    world = prepared(tmp_path, files)
    place = world.items.ids.lookup(["B"])[0]
    assert titles(world) == {"B": "Soap"}
    assert (world.items.prices[place], world.items.descriptions[place]) == (3.5, "Mild.")
    assert times(world) == [BEGIN]


def test_blanks_before_quotes_are_no_part_of_a_cell(tmp_path):
    items = 'item, title\n"i1", "Red, ""big"" shoe"\n"i2",  "Hat"\n "i3", Cap\n'
    world = prepared(tmp_path, {"events.csv": EVENTS.replace("u,", '"u", '), "items.csv": items})
    assert titles(world) == {"i0": "", "i1": 'Red, "big" shoe', "i2": "Hat", "i3": "Cap"}


def test_files_without_a_header_can_be_named(tmp_path):
    rows = EVENTS.split("\n", 1)[1]
    files = {"events.csv": rows, "social.txt": "  u   v\n  u  w\n"}
    with pytest.raises(BadData, match=r"--data\.names events="):
        prepared(tmp_path, files)
    names = ("events=user,item,timestamp", "social=src,dst")
    world = prepared(tmp_path, files, names=names)
    assert items_in_order(world) == ["i0", "i1", "i2", "i3"]
    assert len(world.friends.ids) == 4
    with pytest.raises(UsageError, match=r"--data\.names event=user"):
        prepared(tmp_path, files, names=("event=user",))


def test_parts_that_name_a_column_differently_are_all_named(tmp_path, caplog):
    files = {
        "events/a.csv": EVENTS,
        "events/b.csv": EVENTS.replace("timestamp", "ts").replace("u,", "v,"),
    }
    world = prepared(tmp_path, files, map=("timestamp=ts",))
    assert world.manifest["columns"]["events"]["timestamp"] == "timestamp, ts"
    assert "timestamp is column ts in b.csv, and timestamp in the files before it" in caplog.text


def test_keys_of_json_may_be_anything(tmp_path):
    odd = {"": 1, 'a"b': 2, "a\\c": 3, "'": 4, "a.b": 5, "\x01bad": 6}
    rows = [{"user": "u", "item": "i", "ts": BEGIN, **odd}]
    assert times(prepared(tmp_path, {"events.jsonl": lines(*rows)})) == [BEGIN]


def test_a_name_of_a_column_may_have_braces(tmp_path):
    text = EVENTS.replace("timestamp", "{timestamp")
    assert items_in_order(prepared(tmp_path, {"events.csv": text})) == ["i0", "i1", "i2", "i3"]


def test_a_carriage_return_within_a_line_is_no_internal_error(tmp_path):
    """The line of the bad row is looked for in the file, by Python's own reader."""
    row = "u0,i0,1600000000\nu1,i1,1600001000\nu2,\ri2,1"
    with pytest.raises(BadData, match=r"events.csv line \d"):
        prepared(tmp_path, {"events.csv": f"user,item,timestamp\n{row}imestamp\n{row}"})
