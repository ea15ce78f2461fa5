"""What the four raw tables may hold: their fields, and the names by which a file may call them.

A column is recognised by its name without case, blanks and punctuation (`User_ID` = `userid`);
where several match, the synonym that comes first wins. `docs/data.md` lists them for the user.

Times: numbers below 1e11 are seconds (1e11 is the year 5138), the next factors of 1000 are milli-,
micro- and nanoseconds. Every number names its unit by its size. That alone would misread
milliseconds before March 1973, so a table must also speak one unit: the rows that differ from most
are rejected.
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
    *("timestamp", "ts", "time", "datetime", "date"),
    *("unixreviewtime", "unixtime", "eventtime", "createdat"),
)
SRC = ("src", "source", "sourceid", "from", "follower", "trustor", "user1", *USER)
DST = (
    *("dst", "target", "targetid", "to", "friend", "friendid"),
    *("contactid", "followee", "trustee", "user2"),
)
# `weight` is a rating in some public sets; in a social table it is the edge's own
VALUE = ("value", "rating", "score", "overall", "stars", "weight")
TYPE = ("eventtype", "event", "type", "action", "behavior", "behaviour", "behaviortype")
MAX_EVENT_TYPES = 256  # they are stored as uint8
DEFAULT_TYPE = "event"

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
        Field("src", "id", SRC, required=True),
        Field("dst", "id", DST, required=True),
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


def match(fields: Iterable[Field], columns: Iterable[str]) -> dict[str, str]:
    """Field name -> the file's column, for the fields that the file has."""
    by_plain_name: dict[str, str] = {}
    for column in columns:
        plain_name = re.sub(r"[\W_]", "", column.lower())
        # of `User_ID` and `userid` the first in the file counts
        by_plain_name.setdefault(plain_name, column)

    matched = {}
    for field in fields:
        for synonym in field.synonyms:
            if synonym in by_plain_name:
                matched[field.name] = by_plain_name[synonym]
                break
    return matched
