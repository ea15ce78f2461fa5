"""The file of bad rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import duckdb

from socialrec_jax.data.prepare.engines.duckdb.sql import text
from socialrec_jax.data.prepare.engines.engine import Reject


def write_rejects(con: duckdb.DuckDBPyConnection, rejects: Iterable[Reject], path: Path) -> None:
    """See `Engine.write_rejects`."""
    con.execute(
        """
        CREATE TEMP TABLE rejected ("table" VARCHAR, file VARCHAR, line BIGINT,
            "column" VARCHAR, value VARCHAR, reason VARCHAR)
        """
    )
    # parameters rather than quoting: raw values may hold anything
    rows = [dataclasses.astuple(rejected) for rejected in rejects]
    if rows:
        # whole columns in one statement: executemany would run one a row
        columns = [list(column) for column in zip(*rows, strict=True)]
        unnested = ", ".join(f"unnest(${number})" for number in range(1, len(columns) + 1))
        con.execute(f"INSERT INTO rejected SELECT {unnested}", columns)
    con.execute(f"COPY rejected TO {text(path)} (FORMAT parquet)")
