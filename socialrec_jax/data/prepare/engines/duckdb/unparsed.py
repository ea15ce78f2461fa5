"""What DuckDB's CSV reader could not take apart."""

from __future__ import annotations

import duckdb

from socialrec_jax.data.prepare.engines.engine import UnparsedRecord
from socialrec_jax.data.prepare.engines.statements.staged import MAX_VALUE_LENGTH
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.errors import BadData


def unparsed_records(con: duckdb.DuckDBPyConnection, source: Source) -> list[UnparsedRecord]:
    """What DuckDB's CSV reader stored of its last scan; a quote that is never closed is fatal."""
    if source.kind == "parquet":
        return []
    errors = con.execute(
        """
        SELECT line, any_value(column_name), any_value(csv_line), any_value(error_message)
        FROM reject_errors GROUP BY line ORDER BY line
        """
    ).fetchall()
    unparsed = []
    for line, column, raw, message in errors:
        if "unterminated quote" in message:  # it swallows every line after it
            raise BadData(
                f"{source.path}: record {line} opens a quote that is never closed; "
                "double the quotes in text"
            )
        value = (raw or "").strip()[:MAX_VALUE_LENGTH]
        unparsed.append(UnparsedRecord(line, column, value, message.rstrip(".")))
    return unparsed
