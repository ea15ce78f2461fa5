"""DuckDB's dialect to Spark's, by sqlglot."""

from __future__ import annotations

import functools
from typing import Any

from socialrec_jax.data.prepare.engines.spark.libraries import library

# the last 16 hexadecimal digits of an md5, byte by byte from the end
_LAST_BYTES = ", ".join(f"substr(md5(x), {place}, 2)" for place in range(31, 16, -2))
# What Spark has no function for. Each is an expression of x in Spark's dialect.
_FUNCTIONS = {
    "md5_number_lower": f"CAST(conv(concat({_LAST_BYTES}), 16, 10) AS DECIMAL(20, 0))",
}


@functools.cache
def to_spark(sql: str) -> str:
    """A query in DuckDB's dialect as Spark runs it."""
    sqlglot = library("sqlglot")
    query = sqlglot.parse_one(sql, read="duckdb").transform(_translated)
    # all names are quoted, for `user` is a function to Spark
    return query.sql(dialect="spark", identify=True)


def _translated(node: Any) -> Any:
    sqlglot = library("sqlglot")
    if not isinstance(node, sqlglot.exp.Func):
        return node
    spark = _FUNCTIONS.get(node.name.lower() or node.sql_name().lower())
    if spark is None:
        return node
    argument = next(node.iter_expressions())
    expression = sqlglot.parse_one(spark, read="spark")
    # a copy for each place, because a part of a tree has one parent
    return expression.transform(
        lambda part: argument.copy() if part == sqlglot.exp.column("x") else part
    )
