"""Which of DuckDB's types can hold which kind of field; JSON columns may also say MIXED."""

from __future__ import annotations

import re

from socialrec_jax.data.prepare.schema import Kind

STAGED_TYPES = {"number": "FLOAT", "price": "FLOAT", "flag": "BOOLEAN"}  # others: VARCHAR
WHOLE = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)$")
NUMERIC = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)$")
FLOATING = re.compile(r"^(FLOAT|DOUBLE|DECIMAL.*)$")
DATED = re.compile(r"^(DATE|TIMESTAMP.*)$")
STRING = re.compile(r"^(VARCHAR|UUID|ENUM.*|MIXED)$")
BOOLEAN = re.compile(r"^BOOLEAN$")
_ACCEPTED = {
    "id": (STRING, NUMERIC),
    "time": (STRING, NUMERIC, DATED),
    "number": (STRING, NUMERIC, BOOLEAN),
    "price": (STRING, NUMERIC),
    "flag": (STRING, NUMERIC, BOOLEAN),
}


def fits(kind: Kind, sql_type: str) -> bool:
    """Whether a column of this type can hold this kind of field at all."""
    if kind not in _ACCEPTED:
        return True
    return any(pattern.match(sql_type) for pattern in _ACCEPTED[kind])
