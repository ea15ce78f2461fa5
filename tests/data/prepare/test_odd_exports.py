"""Exports of shops, databases and programs: the right values, or a line that names what is odd."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from socialrec_jax.data.prepare.histories import read_ids, read_raw_histories
from socialrec_jax.data.prepare.samples import place_of_year
from socialrec_jax.errors import BadData, UsageError
from tests.data.prepare.odd_shops import (
    BEGIN,
    EVENTS,
    HEADER,
    IN_ORDER,
    csv,
    events_csv,
    items_in_order,
    lines,
    parquet,
    prepared,
    times,
    titles,
    users,
)

# ---- Times


def test_dates_of_many_programs_are_one_moment(tmp_path):
    # 2020-01-13T10:00:00Z, each with the seconds of its row
    written = [
        "2020-01-13 10:00:{},000",
        "20200113T1000{}+0000",
        "2020-01-13 10:00:{}.0000000 +00:00",
        "Mon Jan 13 10:00:{} UTC 2020",
        "2020-01-13T11:00:{}+01:00[Europe/Berlin]",
        "2020-01-13 02:00:{}.000 -0800",
        "2020-01-13 12:00:{} GMT+2",
        "2020-01-13-10.00.{}.000000",
        "13JAN2020:10:00:{}",
        "2020:01:13 10:00:{}",
        "2020年1月13日 10:00:{}",
        "2020年01月13日 10时00分{}秒",
        "2020. 1. 13. 10:00:{}",
        "Jan 13th, 2020 10:00:{} AM",
        "10:00:{} 13/01/2020",
        "2020-01-13_10:00:{}",
        "1/13/2020 10:00:{} a.m.",
        "1/13/2020, 10:00:{}\u202fAM",
        "2020-01-13t10:00:{}z",
        "2020-Jan-13 10:00:{}",
        "Jan 13, 2020 at 10:00:{} AM",
        "2020-01-13 오전 10:00:{}",
        "2020/1/13 上午 10:00:{}",
        "2020-01-13 10.00.{}",
        "13-01-2020 10.00.{}",
    ]
    stamps = [f'"{text.format(f"{place:02d}")}"' for place, text in enumerate(written)]
    world = prepared(tmp_path, {"events.csv": events_csv(*stamps)})
    begin = BEGIN + 12 * 86_400
    assert times(world) == list(range(begin, begin + len(written)))


@pytest.mark.parametrize(
    "events",
    [{"events.csv": events_csv(*(f"2020-01-01T10:00:00.00000000{9 - k}Z" for k in range(4)))}]
    + [
        {
            "events.parquet": parquet(
                user=["u"] * 4,
                item=IN_ORDER,
                timestamp=pa.array([BEGIN * 10**9 - k for k in range(4)], kind),
            )
        }
        for kind in (pa.timestamp("ns"), pa.timestamp("ns", "Europe/Berlin"))
    ],
)
def test_nanoseconds_decide_the_order(tmp_path, events):
    assert items_in_order(prepared(tmp_path, events)) == IN_ORDER[::-1]


@pytest.mark.parametrize("zero", ["0000-00-00 00:00:00", "1970-01-01", "0001-01-01T00:00:00"])
def test_the_first_moment_of_a_calendar_is_an_unknown_time(tmp_path, zero):
    stamps = ["2020-01-01 10:00:00", zero, "2020-01-01 10:00:02"]
    world = prepared(tmp_path, {"events.csv": events_csv(*stamps)})
    assert times(world) == [BEGIN, BEGIN, BEGIN + 2]
    with pytest.raises(BadData, match="no event has a timestamp"):
        prepared(tmp_path / "all", {"events.csv": events_csv(zero, zero)})


def test_years_of_two_digits_may_come_first(tmp_path, caplog):
    world = prepared(tmp_path, {"events.csv": events_csv(*(f"20-01-1{k}" for k in range(4)))})
    assert times(world) == [BEGIN - 36_000 + (9 + k) * 86_400 for k in range(4)]
    assert "year, month and day" in caplog.text
    # the days of some years, and one day of each month
    for dates in (["13-01-20", "14-01-20", "15-02-21"], ["01/05/18", "01/06/19", "01/07/20"]):
        place = place_of_year(dates, range(1990, 2028))
        assert place is not None
        assert not place.is_first


@pytest.mark.parametrize(
    ("stamps", "options", "day", "says"),
    [
        (["24-06-05 10:00", "24-06-05 11:00"], {}, "2005-06-24", "say --data.first-year 2024"),
        (["24-06-05 10:00"], {"first_year": 2024}, "2024-06-05", "year, month and day"),
        # a year that has not begun is none
        (["24-06-29", "24-06-30"], {}, "2024-06-29", "year, month and day"),
        (["20-06-13", "20-06-14", "20-06-15"], {}, "2020-06-13", "say --data.last-year 2015"),
        (["20-06-13", "20-06-14"], {"last_year": 2019}, "2013-06-20", ""),
        (["99-12-30", "99-12-31"], {}, "1999-12-30", "year, month and day"),
    ],
)
def test_short_dates_say_how_they_are_read(tmp_path, caplog, stamps, options, day, says):
    options = {"last_year": 2027} | options
    world = prepared(tmp_path, {"events.csv": events_csv(*stamps)}, **options)
    first = datetime.datetime.fromtimestamp(min(times(world)), datetime.UTC)
    assert f"{first:%Y-%m-%d}" == day
    assert says in caplog.text


@pytest.mark.parametrize("dates", [["20-01-13", "20-01-14", "20-01-15"], ["15/01/20", "15/01/20"]])
def test_a_short_date_has_its_time_beside_it(tmp_path, dates):
    rows = [("u", f"i{k}", date, f"1{2 - k}:00") for k, date in enumerate(dates)]
    world = prepared(tmp_path, {"events.csv": csv(("user", "item", "date", "time"), *rows)})
    assert max(times(world)) == BEGIN + 14 * 86_400 + (0 if len(dates) == 3 else 7200)


@pytest.mark.parametrize("column", ["hour_of_day", "order_hour_of_day", "hr"])
def test_the_hour_has_many_names(tmp_path, column):
    rows = [("u", f"i{k}", "2020-01-01", 13 - k) for k in range(4)]
    events = csv(("user", "item", "date", column), *rows)
    assert items_in_order(prepared(tmp_path, {"events.csv": events})) == IN_ORDER[::-1]


def test_the_smallest_integer_is_no_internal_error(tmp_path):
    smallest = pa.array([-(2**31)] * 2, pa.int32())
    events = parquet(user=["u"] * 2, item=["i", "j"], timestamp=smallest)
    with pytest.raises(BadData, match="outside of the years"):
        prepared(tmp_path, {"events.parquet": events})


# ---- Ids


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        ("1.2345678E7", "12345678"),  # a float of Java
        ("5E3", "5E3"),  # a code of an article
        ('"7,0"', "7"),  # a float of a spreadsheet
        ("\u200ea\u00ad\u202c", "a"),  # marks of direction, a soft hyphen
    ],
)
def test_ids_as_programs_write_them(tmp_path, spelled, read):
    world = prepared(tmp_path, {"events.csv": csv(HEADER, *[(spelled, "i", BEGIN)] * 3)})
    assert users(world) == [read]


@pytest.mark.parametrize(
    "user", [".", "00000000-0000-0000-0000-000000000000", "1.234567890123456789E18"]
)
def test_what_names_nobody_is_a_bad_row(tmp_path, user):
    with pytest.raises(BadData, match="unusable"):
        prepared(tmp_path, {"events.csv": csv(HEADER, ("u", "i", BEGIN), (user, "i", BEGIN))})


def test_ids_of_guests_are_named(tmp_path, caplog):
    rows = [(f"u{k}", "i", BEGIN) for k in range(9)] + [("0", "i", BEGIN + k) for k in range(20)]
    prepared(tmp_path, {"events.csv": csv(HEADER, *rows, ("Guest", "i", BEGIN))})
    assert "user Guest has 1 events" in caplog.text
    assert "user 0 has 20 events" in caplog.text


def test_a_column_without_ids_gives_way_to_another(tmp_path, caplog):
    rows = [("", "u", f"i{k}", BEGIN + k) for k in range(4)]
    events = csv(("user_id", "user_pseudo_id", "item_id", "ts"), *rows)
    assert users(prepared(tmp_path, {"events.csv": events})) == ["u"]
    assert "column user_id is empty" in caplog.text


def test_other_columns_of_ids_are_named(tmp_path, caplog):
    rows = [("web", "u", f"i{k}", BEGIN + k) for k in range(4)]
    events = csv(("client_id", "user", "item_id", "ts"), *rows)
    files = {"events.csv": events, "items.csv": "id,sku,title\ni0,s0,T\n"}
    world = prepared(tmp_path, files, map=("user=user", "items.item=id"))
    assert (users(world), titles(world)["i0"]) == (["u"], "T")
    assert not caplog.text

    prepared(tmp_path / "unsaid", files)
    assert "--data.map user=user takes that" in caplog.text
    assert "--data.map items.item=id" in caplog.text


@pytest.mark.parametrize("option", ["orders.item=id", "item=", "items.colour=id"])
def test_a_mapping_names_a_table_and_a_field(tmp_path, option):
    with pytest.raises(UsageError, match="FIELD=COLUMN"):
        prepared(tmp_path, {"events.csv": EVENTS}, map=(option,))


def test_ids_in_lines_are_read_as_in_tables(tmp_path):
    path = tmp_path / "IDS.TXT"
    path.write_bytes('\ufeffuser_id\r\n7.0\r\n"a"\r\nb\u200b\r\n\r\n'.encode("utf-16-le"))
    assert read_ids(path, "user") == ["7", "a", "b"]


# ---- Values


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (['"1,000"', '"1,100"', "500", "2.5"], [1000, 1100, 500, 2.5]),
        (['"1,000.50"', '"12,100"', "500", "1"], [1000.5, 12100, 500, 1]),
        (['"0,125"', '"1,250"', '"2,5"', "1"], [0.125, 1.25, 2.5, 1]),
        (["1.299.000", "1.100", "500", "1"], [1299000, 1100, 500, 1]),
    ],
)
def test_commas_in_numbers_are_thousands_or_decimals(tmp_path, written, values):
    rows = [("u", f"i{k}", BEGIN + k, value) for k, value in enumerate(written)]
    world = prepared(tmp_path, {"events.csv": csv((*HEADER, "value"), *rows)})
    assert world.events.values.tolist() == values


@pytest.mark.parametrize("column", ["availability", "stock_status", "is_in_stock", "stock"])
def test_stock_has_many_names(tmp_path, column):
    words = {"availability": ("http://schema.org/OutOfStock", "in_stock", "preorder")}
    cells = words.get(column, ("0", "1", "1"))
    rows = [(f"i{k}", cell) for k, cell in enumerate(cells)]
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.csv": csv(("id", column), *rows)})
    stock = dict(zip(world.items.ids, world.items.available.tolist(), strict=True))
    assert stock == {"i0": False, "i1": True, "i2": True, "i3": True}


def test_what_joins_the_words_of_a_type_does_not_matter(tmp_path):
    names = ["add_to_cart", "Add to Cart", "add-to-cart", "add_to_cart"]
    rows = [("u", f"i{k}", BEGIN + k, name) for k, name in enumerate(names)]
    world = prepared(tmp_path, {"events.csv": csv((*HEADER, "event_type"), *rows)})
    assert world.event_types == ["add_to_cart"]
    new = tmp_path / "new.csv"
    new.write_text(csv((*HEADER, "event_type"), ("v", "i1", BEGIN, "ADD TO CART")))
    assert read_raw_histories(new, world).events.types.tolist() == [0]


def test_fractions_are_no_types(tmp_path, caplog):
    rows = [("u", f"i{k}", BEGIN + k, k + 0.5) for k in range(4)]
    world = prepared(tmp_path, {"events.csv": csv((*HEADER, "interaction"), *rows)})
    assert world.event_types == ["event"]
    assert "not used as event_type" in caplog.text


@pytest.mark.parametrize(
    ("table", "header", "row", "example"),
    [
        ("events", (*HEADER, "click"), ("u", "i1", BEGIN, 0), "'0'"),
        ("events", (*HEADER, "order_status"), ("u", "i1", BEGIN, "Cancelled"), "'cancelled'"),
        ("events", (*HEADER, "deleted_at"), ("u", "i1", BEGIN, "2020-01-02"), "'2020-01-02'"),
        ("events", (*HEADER, "status"), ("u", "i1", BEGIN, "交易关闭"), "'交易关闭'"),
        ("social", ("src", "dst", "accepted"), ("u", "v", "false"), "'false'"),
        ("events", (*HEADER, "Quantity"), ("u", "i1", BEGIN, -1), "'-1'"),
        ("social", ("src", "dst", "kind"), ("u", "v", "block"), "'block'"),
        ("items", ("item", "deleted"), ("i1", 1), "'1'"),
    ],
)
def test_columns_that_say_the_opposite_are_named(tmp_path, caplog, table, header, row, example):
    prepared(tmp_path, {"events.csv": EVENTS, f"{table}.csv": csv(header, row)})
    assert f"column {header[-1]} is not read" in caplog.text
    assert example in caplog.text


def test_whole_numbers_that_are_ids_are_no_vector(tmp_path, caplog):
    items = lines({"item": "i0", "related_ids": [1, 2]}, {"item": "i1", "related_ids": [3, 4]})
    world = prepared(tmp_path, {"events.csv": EVENTS, "items.jsonl": items})
    assert world.items.vectors.shape[1] == 0
    assert "related_ids" in caplog.text
