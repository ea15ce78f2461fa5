"""Times in the notations that shops have: the right moment, or one line that says what is wrong."""

from __future__ import annotations

import datetime

import duckdb
import pytest

from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.times import decide
from socialrec_jax.errors import BadData, UsageError
from tests.data.prepare.odd_shops import BEGIN, csv, events_csv, items_in_order, prepared, times

MIDNIGHT = BEGIN - 36000


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("20200101", MIDNIGHT),
        ("20200101.0", MIDNIGHT),
        ("2020010110", BEGIN),
        ("202001011000", BEGIN),
        ("20200101100000", BEGIN),
        ("43831", MIDNIGHT),
        ("43831.4166667", BEGIN),
        ("1577872800123", BEGIN),
        ("1577872800123456", BEGIN),
        ("1577872800123456789", BEGIN),
        ("1577872800.123", BEGIN),
        ("1.5778728e9", BEGIN),
        ("2020-01-01", MIDNIGHT),
        ("2020-01-01 10:00", BEGIN),
        ("2020-01-01T10", BEGIN),
        ("2020-01-01 10", BEGIN),
        ("2020-01-01T12:00:00+02:00", BEGIN),
        ("2020-01-01 12:00:00 +0200", BEGIN),
        ("20200101T100000Z", BEGIN),
        ("2020/01/01 10:00:00", BEGIN),
        ("2020.01.01 10:00", BEGIN),
        ("01.01.2020 10:00", BEGIN),
        ("01.01.20 10:00", BEGIN),
        ("01-Jan-2020", MIDNIGHT),
        ("1 January 2020", MIDNIGHT),
        ('"Jan 1, 2020"', MIDNIGHT),
        ('"01 1, 2020"', MIDNIGHT),
        ("Wed Jan 01 10:00:00 +0000 2020", BEGIN),
        ('"Wed, 01 Jan 2020 10:00:00 GMT"', BEGIN),
        ("2020-01-01 10:00:00 AM", BEGIN),
        ('"Wednesday, January 1, 2020 10:00 AM"', BEGIN),
        ("Jan 1 2020 10:00AM", BEGIN),
        ("01-Jan-2020 10:00:00", BEGIN),
        ("01-JAN-20 10.00.00.000000 AM", BEGIN),
        ("Wed Jan 01 10:00:00 2020", BEGIN),
        ("Wed Jan 01 2020 12:00:00 GMT+0200 (EET)", BEGIN),
        ("[01/Jan/2020:10:00:00 +0000]", BEGIN),
        ("20200101 100000", BEGIN),
        ("637134696000000000", BEGIN),
    ],
)
def test_one_moment_in_many_notations(tmp_path, stamp, seconds):
    world = prepared(tmp_path, {"events.csv": events_csv(*[stamp] * 3)})
    assert times(world) == [seconds] * 3


@pytest.mark.parametrize(
    ("kind", "value", "seconds"),
    [
        ("BIGINT", "20200101", MIDNIGHT),
        ("BIGINT", "1577872800123", BEGIN),
        ("INTEGER", "43831", MIDNIGHT),
        ("DOUBLE", "1577872800.5", BEGIN),
        ("DOUBLE", "20200101", MIDNIGHT),
        ("DOUBLE", "43831.4166667", BEGIN),
        ("DECIMAL(18, 3)", "1577872800.5", BEGIN),
        ("UBIGINT", "1577872800", BEGIN),
        ("TIMESTAMP_NS", "'2020-01-01 10:00:00'", BEGIN),
        ("TIMESTAMP_S", "'2020-01-01 10:00:00'", BEGIN),
    ],
)
def test_typed_columns_of_parquet(tmp_path, kind, value, seconds):
    (tmp_path / "raw").mkdir()
    columns = f"'u' AS user, 'i' || range AS item, {value}::{kind} AS timestamp FROM range(3)"
    duckdb.execute(f"COPY (SELECT {columns}) TO '{tmp_path}/raw/events.parquet'")
    assert times(prepared(tmp_path, {})) == [seconds] * 3


@pytest.mark.parametrize(
    ("stamps", "day"),
    [
        (["01/02/2020", "13/02/2020"], "2020-02-01"),
        (["01/02/2020", "02/13/2020"], "2020-01-02"),
        (["01-02-2020", "31-12-2020"], "2020-02-01"),
        (["01/02/2020 10:00", "13/02/2020 11:00"], "2020-02-01T10:00"),
        (["01/02/20", "13/02/20"], "2020-02-01"),
        (['"01/02/2020, 10:00:00"', '"13/02/2020, 11:00:00"'], "2020-02-01T10:00"),
        (["1/2/2020 10:00 AM", "1/13/2020 1:05 PM"], "2020-01-02T10:00"),
    ],
)
def test_day_and_month_are_taken_from_the_dates_that_say_so(tmp_path, stamps, day):
    world = prepared(tmp_path, {"events.csv": events_csv(*stamps)})
    expected = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
    assert min(times(world)) == int(expected.timestamp())


def test_dates_that_can_be_read_both_ways_are_refused(tmp_path):
    with pytest.raises(BadData, match="01/02/2020 do not say"):
        prepared(tmp_path, {"events.csv": events_csv("01/02/2020", "03/04/2020")})


@pytest.mark.parametrize(
    "stamps",
    [
        ["1577872800", "1577872800.9", "1577872800.1", "1577872800.5"],
        [f"1577872800{part}" for part in ("000", "900", "100", "500")],
        [f"1577872800{part}" for part in ("000000000", "000000009", "000000001", "000000005")],
        [f"2020-01-01T10:00:00{part}Z" for part in ("", ".9", ".1", ".5")],
    ],
)
def test_fractions_of_seconds_decide_the_order(tmp_path, stamps):
    world = prepared(tmp_path, {"events.csv": events_csv(*stamps)})
    assert items_in_order(world) == ["i0", "i2", "i3", "i1"]
    assert times(world) == [BEGIN] * 4


@pytest.mark.parametrize("unknown", ["0", "-1"])
def test_zero_and_minus_one_are_unknown_times(tmp_path, unknown):
    stamps = [BEGIN, BEGIN + 5, unknown, BEGIN + 9]
    world = prepared(tmp_path, {"events.csv": events_csv(*stamps)})
    assert items_in_order(world) == ["i0", "i1", "i2", "i3"]
    assert world.manifest["counts"]["events_without_time"] == 1


@pytest.mark.parametrize(
    "stamp", ["100000000", "18262", "19700101", "4102444800", "1985-05-05", "2150-01-01", "437000"]
)
def test_times_outside_of_the_years_are_refused(tmp_path, stamp):
    with pytest.raises(BadData, match=r"outside of the years.*--data\.first-year") as error:
        prepared(tmp_path, {"events.csv": events_csv(*[stamp] * 3)})
    assert "\n" not in str(error.value)


def test_the_user_can_say_that_old_times_are_right(tmp_path):
    files = {"events.csv": events_csv("1985-05-05", "1985-05-06", "1985-05-07")}
    world = prepared(tmp_path, files, first_year=1980)
    assert len(times(world)) == 3
    with pytest.raises(UsageError, match="last-year"):
        prepared(tmp_path, files, first_year=1980, last_year=1970)


def test_a_few_times_outside_of_the_years_are_bad_rows(tmp_path):
    stamps = [BEGIN + place for place in range(9)]
    files = {"events.csv": events_csv(*stamps, "1971-01-01", "100000000")}
    world = prepared(tmp_path, files, max_bad_share=0.5)
    assert world.manifest["counts"]["rejected"]["events"] == 2


def test_a_clock_that_begins_at_zero_is_kept_and_named(tmp_path, caplog):
    world = prepared(tmp_path, {"events.csv": events_csv(0, 3, 2, 40_000, 20_200_101)})
    assert times(world) == [0, 2, 3, 40_000, 20_200_101]
    assert "no dates" in caplog.text


@pytest.mark.parametrize("later", [43_831, 20_200_101, 50_000_000])
def test_what_is_appended_is_read_by_the_clock_of_the_world(tmp_path, later):
    world = prepared(tmp_path, {"events.csv": events_csv(0, 3, 2)})
    tables = tmp_path / "more"
    tables.mkdir()
    (tables / "events.csv").write_text(events_csv(later, later + 5))
    assert times(append(world, tables, tmp_path / "next")) == [0, 2, 3, later, later + 5]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("date,time", ["2020-01-01,10:00:00", "2020-01-01,10:00:05"]),
        ("time,date", ["10:00:00,01.01.2020", "10:00:05,01.01.2020"]),
        ("date,event_time", ["2020-01-01,1577872800", "2020-01-01,1577872805"]),
        ("timestamp,date", ["1577872800,2020-02-02", "1577872805,2020-02-02"]),
        ("date,ts", ["2020-02-02T00:00:00,1577872800", "2020-02-02T00:00:00,1577872805"]),
        ("time,created_at", ["10:00,2020-01-01T10:00:00", "10:00,2020-01-01T10:00:05"]),
    ],
)
def test_of_several_time_columns_the_right_one_is_read(tmp_path, header, rows):
    lines = [f"user,item,{header}", *(f"u,i{place},{row}" for place, row in enumerate(rows))]
    world = prepared(tmp_path, {"events.csv": "\n".join(lines)})
    assert times(world) == [BEGIN, BEGIN + 5]


def test_another_column_that_may_be_the_time_is_named(tmp_path, caplog):
    rows = [("u", f"i{n}", f"2026-01-0{n}", f"2020-01-0{n}") for n in range(1, 4)]
    files = {"events.csv": csv(("user", "item", "date", "order_date"), *rows)}
    prepared(tmp_path, files)
    assert "the time is column date, but order_date may be it as well" in caplog.text


@pytest.mark.parametrize("rounded", ["1.57787E+09", "1.57787e+09"])
def test_times_that_a_program_rounded_are_bad(tmp_path, rounded):
    with pytest.raises(BadData, match="was rounded by a spreadsheet"):
        prepared(tmp_path, {"events.csv": events_csv(rounded, rounded)})


def test_times_may_have_a_decimal_comma(tmp_path):
    for stamps in (("1577872800,5", "1577872860,25"), ("43831,4166667", "43831,4173612")):
        events = events_csv(*stamps).replace("u,", "u;").replace(",15", ";15").replace(",43", ";43")
        files = {"events.csv": events.replace("user,item,", "user;item;")}
        assert times(prepared(tmp_path, files)) == [BEGIN, BEGIN + 60]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("date,time", ["2020-01-01,1305", "2020-01-01,905"]),
        ("date,time", ["20200101,130500", "20200101,90500"]),
        ("date,hour,minute", ["2020-01-01,13,5", "2020-01-01,9,5"]),
        ("year,month,day,hour,minute,second", ["2020,1,1,13,5,0", "2020,1,1,9,5,0"]),
    ],
)
def test_the_time_of_the_day_in_other_columns_is_joined(tmp_path, header, rows):
    lines = [f"user,item,{header}", *(f"u,i{place},{row}" for place, row in enumerate(rows))]
    world = prepared(tmp_path, {"events.csv": "\n".join(lines)})
    assert times(world) == [BEGIN - 55 * 60, BEGIN + 185 * 60]


def test_an_hour_beside_a_date_is_read(tmp_path):
    rows = [("u", "i1", "2020-01-01", 12), ("u", "i2", "2020-01-01", 10)]
    files = {"events.csv": csv(("user", "item", "date", "hour"), *rows)}
    assert times(prepared(tmp_path, files)) == [BEGIN, BEGIN + 7200]


def test_a_number_that_is_no_date_among_dates_is_bad(tmp_path):
    files = {"events.csv": events_csv(20200101, 20201301, 20200102)}
    world = prepared(tmp_path, files, max_bad_share=0.5)
    assert world.manifest["counts"]["rejected"]["events"] == 1


def test_year_month_and_day_are_one_date(tmp_path):
    rows = [("u", "i1", 2020, 1, 1), ("u", "i2", 2020, 11, 12)]
    files = {"events.csv": csv(("user", "item", "year", "month", "day"), *rows)}
    assert times(prepared(tmp_path, files))[0] == MIDNIGHT


def test_the_manifest_names_the_columns_that_were_read(tmp_path):
    files = {"events.csv": csv(("uid", "sku", "date", "time"), ("u", "i", "2020-01-01", "10:00"))}
    columns = prepared(tmp_path, files).manifest["columns"]["events"]
    assert columns == {"user": "uid", "item": "sku", "timestamp": "date+time"}


def test_without_times_the_order_of_rows_can_be_taken(tmp_path):
    files = {"events.csv": csv(("user", "item"), *(("u", f"i{place}") for place in range(9)))}
    with pytest.raises(BadData, match=r"--data\.order file"):
        prepared(tmp_path, files)
    world = prepared(tmp_path, files, order="file")
    assert items_in_order(world) == [f"i{place}" for place in range(9)]
    shuffled = items_in_order(prepared(tmp_path / "random", files, order="random"))
    assert sorted(shuffled) == items_in_order(world) != shuffled


def test_a_table_without_numbers_decides_nothing():
    assert decide("events", {None: 5}, None, None).notation is None


@pytest.mark.parametrize("clock", ["10:00:0{}", "10:00:0{}.5", "10:0{}", "1{}"])
def test_a_date_as_one_number_is_joined_with_the_time_of_the_day(tmp_path, clock):
    column = "hour" if ":" not in clock else "time"
    rows = [("u", f"i{n}", 20200101, clock.format(3 - n)) for n in range(4)]
    world = prepared(tmp_path, {"events.csv": csv(("user", "item", "date", column), *rows)})
    assert items_in_order(world) == ["i3", "i2", "i1", "i0"]
    assert times(world)[0] == BEGIN


def test_times_as_short_floats_are_named(tmp_path, caplog):
    path = tmp_path / "raw" / "events.parquet"
    path.parent.mkdir()
    query = f"SELECT 'u' AS user, range AS item, ({BEGIN} + range)::FLOAT AS ts FROM range(3)"
    duckdb.execute(f"COPY ({query}) TO '{path}'")
    prepared(tmp_path, {})
    assert "32-bit floats" in caplog.text
