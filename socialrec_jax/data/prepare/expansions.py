"""Lines that hold several rows: lists of friends, of clicked news, of a user's items in order.

Such a file is copied with one row a line before an engine reads it. A row keeps the number of the
line that it came from.
"""

from __future__ import annotations

import ast
import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator

Row = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Expansion:
    """How one line becomes rows. names: of the rows' columns; none: the source names them.

    is_json: a row is one text, an object of JSON.
    """

    rows_of: Callable[[str], list[Row]]
    names: tuple[str, ...] = ()
    has_header: bool = False
    is_json: bool = False

    def rows(self, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
        """(line from 1, row) of all rows."""
        for number, line in enumerate(lines, 1):
            if number > 1 or not self.has_header:
                for row in self.rows_of(line):
                    yield number, row


@dataclasses.dataclass(frozen=True)
class Unnested:
    """A column of lists in parquet whose parts are rows.

    field: that a part is; None: parts are objects, whose members are columns. replaced: columns
    of the file that have the name of such a member.
    """

    column: str
    field: str | None
    replaced: tuple[str, ...] = ()


def _between_blanks(line: str) -> list[Row]:
    cells = tuple(line.split())
    return [cells] if cells else []


def _sequence(line: str) -> list[Row]:
    user, *items = line.split() or [""]
    return [(user, item) for item in items]


def _yelp_friends(line: str) -> list[Row]:
    record = _object(line)
    # people without friends have the text None
    friends = str(record.get("friends") or "").split(",")
    user = str(record.get("user_id", ""))
    return [(user, friend.strip()) for friend in friends if friend.strip() not in ("", "None")]


def _object(line: str) -> dict:
    try:
        record = json.loads(line)
    except ValueError:
        record = {}
    return record if isinstance(record, dict) else {}


def _kuairec_friends(line: str) -> list[Row]:
    cells = next(csv.reader([line]), [])
    # a line that is broken becomes a row that will be rejected
    if len(cells) != 2:
        return [("", line)] if line else []
    try:
        friends = ast.literal_eval(cells[1])
    except (ValueError, SyntaxError):
        return [(cells[0], "")]
    return [(cells[0], str(friend)) for friend in friends]


def _mind_clicks(line: str) -> list[Row]:
    # the clicks before the log are left out, for they have no time
    _, user, time, _, shown = (line.split("\t") + [""] * 5)[:5]
    clicked = [news.removesuffix("-1") for news in shown.split() if news.endswith("-1")]
    return [(user, news, time, "click") for news in clicked]


BLANKS = Expansion(_between_blanks)  # columns between any number of blanks
BLANKS_AND_HEADER = Expansion(_between_blanks, has_header=True)
SEQUENCES = Expansion(_sequence, ("user", "item"))  # a user, and the items in order
YELP_FRIENDS = Expansion(_yelp_friends, ("src", "dst"))
KUAIREC_FRIENDS = Expansion(_kuairec_friends, ("src", "dst"), has_header=True)
MIND_CLICKS = Expansion(_mind_clicks, ("user", "item", "timestamp", "event_type"))
