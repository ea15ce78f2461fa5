"""What the four raw tables may hold: fields, their synonyms, and when a value is bad.

A column is recognised by its name without case, blanks and punctuation (`User_ID` = `userid`);
where several match, the synonym that comes first wins. `docs/data.md` lists them for the user.

Times: numbers below 1e11 are seconds (1e11 is the year 5138), the next factors of 1000 are milli-,
micro- and nanoseconds. Every number names its unit by its size; that alone would misread
milliseconds before March 1973, so `tables.py` also demands that a table speaks one unit and rejects
the rows that differ from most. ISO times go through TIMESTAMPTZ, because a cast to TIMESTAMP
ignores an offset such as +02:00.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Literal

USER = ("user", "userid", "uid", "reviewerid", "customerid", "visitorid", "memberid", "accountid")
ITEM = (
    *("item", "itemid", "iid", "productid", "product", "parentasin", "asin", "sku", "goodsid"),
    *("movieid", "artistid", "bookmarkid", "bookid", "businessid"),
)
TIME = (
    "timestamp",
    "ts",
    "time",
    "datetime",
    "date",
    "unixreviewtime",
    "unixtime",
    "eventtime",
    "createdat",
)
VALUE = ("value", "rating", "score", "overall", "stars", "weight")
TYPE = ("eventtype", "event", "type", "action", "behavior", "behaviour", "behaviortype")
Kind = Literal["id", "time", "number", "price", "flag", "text", "list"]


@dataclasses.dataclass(frozen=True)
class Field:
    """One column of a raw table."""

    name: str
    kind: Kind
    synonyms: tuple[str, ...]
    required: bool = False


TABLES: dict[str, tuple[Field, ...]] = {
    "events": (
        Field("user", "id", USER, required=True),
        Field("item", "id", ITEM, required=True),
        Field("timestamp", "time", TIME, required=True),
        Field("event_type", "text", TYPE),
        Field("value", "number", VALUE),
    ),
    "social": (
        Field(
            "src",
            "id",
            ("src", "source", "sourceid", "from", "follower", "trustor", "user1", *USER),
            required=True,
        ),
        Field(
            "dst",
            "id",
            (
                "dst",
                "target",
                "targetid",
                "to",
                "friend",
                "friendid",
                "contactid",
                "followee",
                "trustee",
                "user2",
            ),
            required=True,
        ),
        Field("weight", "number", ("weight", "strength", "value")),
        Field("timestamp", "time", TIME),
    ),
    "items": (
        Field("item", "id", (*ITEM, "id"), required=True),
        Field("title", "text", ("title", "name", "itemname", "productname", "movietitle")),
        Field("description", "text", ("description", "desc", "text", "summary")),
        Field("tags", "list", ("tags", "tag", "genres", "genre", "categories")),
        Field("category", "text", ("category", "categoryname", "maincategory", "class")),
        Field("price", "price", ("price",)),
        Field("available", "flag", ("available", "isavailable", "instock")),
    ),
    "users": (Field("user", "id", (*USER, "id"), required=True),),
}

SQL_TYPES = {
    "id": "VARCHAR",
    "time": "DOUBLE",
    "number": "FLOAT",
    "price": "FLOAT",
    "flag": "BOOLEAN",
}
NUMERIC = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)$")
WHOLE = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)$")
MOMENT = re.compile(r"^(DATE|TIMESTAMP.*)$")
STRING = re.compile(r"^(VARCHAR|UUID|ENUM.*|MIXED)$")


def match(fields: Iterable[Field], columns: Iterable[str]) -> dict[str, str]:
    """Field name -> the file's column, for the fields that the file has."""
    by_plain_name: dict[str, str] = {}
    for column in columns:
        by_plain_name.setdefault(re.sub(r"[\W_]", "", column.lower()), column)
    found = {
        f.name: next((by_plain_name[s] for s in f.synonyms if s in by_plain_name), None)
        for f in fields
    }
    return {field: column for field, column in found.items() if column is not None}


def fits(kind: Kind, sql_type: str) -> bool:
    """Whether a column of this DuckDB type can hold this kind of field at all."""
    accepted = {
        "id": (STRING, WHOLE),
        "time": (STRING, NUMERIC, MOMENT),
        "number": (STRING, NUMERIC),
        "price": (STRING, NUMERIC),
        "flag": (STRING, NUMERIC, re.compile("^BOOLEAN$")),
    }
    return kind not in accepted or any(pattern.match(sql_type) for pattern in accepted[kind])


def value_sql(kind: Kind, column: str, sql_type: str) -> str:
    """SQL for the clean value of `column`, NULL where it is blank or bad."""
    if kind == "id":
        return f"{column}::VARCHAR"
    if kind == "time":
        moment = f"epoch({column})" if MOMENT.match(sql_type) else f"try_cast({column} AS DOUBLE)"
        return (
            f"coalesce({moment}, epoch(try_cast({column} AS TIMESTAMPTZ)))"
            if STRING.match(sql_type)
            else moment
        )
    if kind in ("number", "price"):
        return f"try_cast({column} AS FLOAT)"
    if kind == "flag":
        return (
            f"CASE WHEN lower(trim({column}::VARCHAR)) IN ('true', 't', 'yes', 'y', '1', '1.0') THEN true "
            f"WHEN lower(trim({column}::VARCHAR)) IN ('false', 'f', 'no', 'n', '0', '0.0') THEN false END"
        )
    return _text_sql(column, sql_type, " " if kind == "text" else "|")


def bad_sql(kind: Kind, column: str, sql_type: str) -> list[tuple[str, str]]:
    """(condition, reason) pairs: when `column` makes its row unusable; blank values are bad only in
    ids.
    """
    value, plain = value_sql(kind, column, sql_type), f"{column}::VARCHAR"
    blank = f"({column} IS NULL OR trim({plain}) = '')"
    if kind == "id":
        broken = (
            [(f"contains({column}, chr(10))", "holds a line break")]
            if sql_type == "VARCHAR"
            else []
        )
        nested = (
            [(f"left({column}, 1) IN ('[', '{{')", "is a list or an object")]
            if sql_type == "MIXED"
            else []
        )
        return [(blank, "is blank"), *broken, *nested]
    if kind == "flag":
        return [(f"NOT {blank} AND {value} IS NULL", "is neither true nor false")]
    reason = "is neither unix time nor ISO 8601" if kind == "time" else "is not a number"
    if kind in ("time", "number"):
        finite = (
            f"isfinite({value}) AND abs({value}) < 1e20" if kind == "time" else f"isfinite({value})"
        )
        return [
            (f"NOT {blank} AND ({value}) IS NULL", reason),
            (f"NOT ({finite})", "is not finite"),
        ]
    if kind == "price":  # many tools write NaN for a price that they do not know
        return [
            (f"NOT {blank} AND ({value}) IS NULL", reason),
            (f"isinf({value})", "is not finite"),
        ]
    return []


def unit_sql(column: str, sql_type: str) -> str:
    """0..3: seconds, milli-, micro- or nanoseconds; NULL where the time is no plain number."""
    if MOMENT.match(sql_type):
        return "NULL::TINYINT"
    size = f"abs(try_cast({column} AS DOUBLE))"
    return f"CASE WHEN {size} < 1e11 THEN 0 WHEN {size} < 1e14 THEN 1 WHEN {size} < 1e17 THEN 2 WHEN {size} > 0 THEN 3 END"


def _text_sql(column: str, sql_type: str, separator: str) -> str:
    if sql_type.endswith("[]"):
        return f"array_to_string({column}::VARCHAR[], '{separator}')"
    if sql_type not in ("ARRAY", "MIXED"):
        return f"{column}::VARCHAR"
    leaves = f"CASE WHEN starts_with({column}, '[[') THEN {column}->>'$[*][*]' ELSE {column}->>'$[*]' END"
    joined = f"array_to_string({leaves}, '{separator}')"
    return f"CASE WHEN starts_with({column}, '[') AND json_valid({column}) THEN {joined} ELSE {column} END"
