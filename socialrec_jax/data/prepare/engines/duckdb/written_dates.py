"""Dates as programs and people write them, as SQL of a text that `try_strptime` can read.

Only texts that are neither a number nor ISO 8601 are looked at, so this costs clean tables nothing.
"""

from __future__ import annotations

from socialrec_jax.data.prepare.engines.duckdb.sql import text

_OFFSET = "[+-][0-9]{2}:?[0-9]{2}"
_DATE = "^([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2}) ?"
# (regular expression, what it becomes), in this order
_REWRITES = (
    # blanks of all widths, the apostrophe of a spreadsheet
    ("[\u00a0\u2009\u202f]", " "),
    ("^'", ""),
    # a.m., 10:00AM, 10:00 at
    (r"(?i)\b([ap])[.]m[.]", r"\1m"),
    (r"(?i)([0-9])([ap]m)\b", r"\1 \2"),
    (r"(?i) at ", " "),
    # 1st, 2nd
    (r"\b([0-9]{1,2})(?:st|nd|rd|th)\b", r"\1"),
    # the zone of Java behind an offset
    (r"(Z|[0-9]) ?\[[A-Za-z]+(?:[/_][A-Za-z_]+)*\]$", r"\1"),
    # 2020-01-01-10.00.00 of DB2, 2020-01-01_10:00:00
    ("^([0-9]{4}-[0-9]{2}-[0-9]{2})[-_]([0-9]{2})[.:]([0-9]{2})[.:]([0-9]{2})", r"\1 \2:\3:\4"),
    # 2020:01:01 10:00:00 of cameras
    ("^([0-9]{4}):([0-9]{2}):([0-9]{2}) ", r"\1-\2-\3 "),
    # a comma or a colon before the fraction of a second
    ("([ T][0-9]{2}:[0-9]{2}:[0-9]{2})[,:]([0-9]{1,9})", r"\1.\2"),
    # ISO 8601 with a blank before the offset, without hyphens, or in small letters
    (f"^([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ T][0-9:.]+) (Z|{_OFFSET})$", r"\1\2"),
    (
        "^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})"
        f"((?:[.][0-9]+)?(?:Z|{_OFFSET}))$",
        r"\1-\2-\3T\4:\5:\6\7",
    ),
    ("^([0-9]{4}-[0-9]{2}-[0-9]{2})t([0-9:.]+)z$", r"\1T\2Z"),
    # an offset of one digit
    (" GMT([+-])([0-9])$", r" GMT\10\2"),
    # Wed Jan 01 10:00:00 UTC 2020 of Java
    ("([0-9]{2}:[0-9]{2}:[0-9]{2}) (?:UTC|GMT) ([0-9]{4})$", r"\1 \2"),
    # 01JAN2020:10:00:00 of SAS, 2020-Jan-1
    ("^([0-9]{2})([A-Za-z]{3})([0-9]{4}):([0-9]{2}:)", r"\1 \2 \3 \4"),
    ("^([0-9]{4})-([A-Za-z]{3,9})-([0-9]{1,2})", r"\3 \2 \1"),
    # years, months, days, hours, minutes and seconds of East Asia
    ("([0-9]{4})年 ?([0-9]{1,2})月 ?([0-9]{1,2})日", r"\1-\2-\3"),
    ("([0-9]{1,2})[时時] ?([0-9]{1,2})分 ?([0-9]{1,2})秒", r"\1:\2:\3"),
    ("([0-9]{1,2})[时時] ?([0-9]{1,2})分", r"\1:\2"),
    ("^([0-9]{4})[.] ([0-9]{1,2})[.] ([0-9]{1,2})[.]?", r"\1-\2-\3"),
    # the half of the day before the time, as Excel writes it in East Asia
    (_DATE + "(?:오전|上午|午前) ?([0-9:]+)$", r"\1-\2-\3 \4 AM"),
    (_DATE + "(?:오후|下午|午後) ?([0-9:]+)$", r"\1-\2-\3 \4 PM"),
    # the time of the day before the date
    (
        "(?i)^([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?: [ap]m)?),? "
        "([0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4})$",
        r"\2 \1",
    ),
    # 10.05.30 and 10.05 of Northern Europe
    (" ([0-9]{1,2})[.]([0-9]{2})[.]([0-9]{2})$", r" \1:\2:\3"),
    (" ([0-9]{1,2})[.]([0-9]{2})$", r" \1:\2"),
)


def rewritten(value: str) -> str:
    """SQL of a text in which dates of many programs have one of the notations of `times.py`."""
    for pattern, replacement in _REWRITES:
        value = f"regexp_replace({value}, {text(pattern)}, {text(replacement)}, 'g')"
    return value
