"""From a file's columns to SQL: which column is which field, its clean value, and its checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from socialrec_jax.data.prepare.engines.duckdb import instants, values
from socialrec_jax.data.prepare.engines.duckdb.derived_fields import derived_sql
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice
from socialrec_jax.data.prepare.engines.duckdb.sql import is_one_of, name, text
from socialrec_jax.data.prepare.engines.duckdb.types import fits
from socialrec_jax.data.prepare.engines.statements.checks import Check
from socialrec_jax.data.prepare.readers import Source, looks_like_data, no_header_advice
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES, Field, suggest
from socialrec_jax.errors import BadData

_MARK = "\ufeff"  # of byte order
_TOTALS = ("total", "totals", "grand total", "subtotal", "sum", "summe", "gesamt", "gesamtergebnis")
_TYPE_WORDS = (
    *("string", "str", "varchar", "text", "char", "object", "token", "token_seq", "category"),
    *("int", "integer", "bigint", "int32", "int64", "long"),
    *("float", "float32", "float64", "double"),
    *("number", "numeric", "decimal", "bool", "boolean", "date", "datetime", "timestamp"),
)


@dataclasses.dataclass(frozen=True)
class Value:
    """SQL of a raw value, its type, and what to call it in messages."""

    sql: str
    sql_type: str
    shown: str


@dataclasses.dataclass
class Expressions:
    """SQL of every staged column of one file, and the checks, in the table's order."""

    selected: list[str] = dataclasses.field(default_factory=list)
    checks: list[Check] = dataclasses.field(default_factory=list)
    layers: list[list[str]] = dataclasses.field(default_factory=list)
    """Columns that are computed before the others, each layer from the one before it."""

    def add_layers(self, layers: Sequence[str]) -> None:
        for depth, columns in enumerate(layers):
            if depth == len(self.layers):
                self.layers.append([])
            self.layers[depth].append(columns)


def values_of(
    source: Source, table: str, types: Mapping[str, str], choice: Choice
) -> dict[str, Value]:
    """The raw value of each field that the file has.

    BadData: a required one is missing, or of an impossible type.
    """
    found = {}
    for field in TABLES[table]:
        if field.name in choice.derived:
            made = choice.derived[field.name]
            sql = derived_sql(made)
            # a date goes before the time of the day
            if made.columns_used and made.columns_used[0] in choice.years_first:
                sql = _with_century(sql)
            found[field.name] = Value(sql, "VARCHAR", made.shown)
        elif field.name in choice.columns:
            column = choice.columns[field.name]
            _check_type(source, field, column, types)
            found[field.name] = Value(_raw_sql(column, choice), types[column], column)

    required = [field for field in TABLES[table] if field.required]
    missing = [field.name for field in required if field.name not in found]
    if missing and (missing != ["timestamp"] or choice.needs_times):
        raise _missing(source, table, missing, types)
    return found


def _raw_sql(column: str, choice: Choice) -> str:
    if column in choice.decimal_commas:
        # 1.299,50 becomes 1299.50
        return f"replace(replace({name(column)}, '.', ''), ',', '.')"
    if column in choice.thousands_commas:
        return f"replace({name(column)}, ',', '')"
    if column in choice.years_first:
        return _with_century(name(column))
    if column in choice.separators:
        return f"regexp_replace({name(column)}, ' *[{choice.separators[column]}] *', '|', 'g')"
    return name(column)


def _with_century(date: str) -> str:
    """A date that begins with two digits of its year, as `strptime` reads them."""
    return f"CASE WHEN trim({date}) < '69' THEN '20' ELSE '19' END || trim({date})"


def _missing(
    source: Source, table: str, missing: Sequence[str], types: Mapping[str, str]
) -> BadData:
    # named together, so that one run says all that is missing
    return BadData(
        f"{source.path}: {table} need a column {' and a column '.join(missing)} "
        f"(or a synonym, see docs/data.md); found: {', '.join(types)}; "
        f"{_advice(table, missing, types)}"
    )


def _advice(table: str, missing: Sequence[str], types: Mapping[str, str]) -> str:
    """What to do about columns that are missing."""
    # a header in one piece was not taken apart
    if len(types) == 1:
        return "if that is more than one column, say what stands between them with --data.sep"
    if looks_like_data(types):
        return no_header_advice(table)
    fields = [field for field in TABLES[table] if field.name in missing]
    guesses = {missing[0]: "COLUMN"} | suggest(fields, types)
    options = ",".join(f"{field}={column}" for field, column in guesses.items())
    advice = f"say which with --data.map {options}"
    if missing == ["timestamp"]:
        advice += ", or say --data.order file where rows come in order, random where they do not"
    return advice


def _check_type(source: Source, field: Field, column: str, types: Mapping[str, str]) -> None:
    if not fits(field.kind, types[column]):
        listed = ", ".join(f"{other} ({kind})" for other, kind in types.items())
        advice = "" if field.required else f"; --data.ignore {column} passes it over"
        raise BadData(
            f"{source.path}: column {column} cannot be read as {field.name}; found: {listed}"
            f"{advice}"
        )


def expressions_of(table: str, found: Mapping[str, Value], rules: Rules) -> Expressions:
    """SQL of the fields of a table; what the file lacks is NULL."""
    expressions = Expressions()
    # first, because its reason says more than that of a single column
    expressions.checks += [*_repeated_header(found), *_negative_weight(table, found)]
    expressions.checks += [*_types_of_columns(table, found), *_totals(table, found)]
    for field in TABLES[table]:
        value = found.get(field.name)
        if field.kind == "time":
            _add_time(expressions, field, value, rules)
        elif value is None:
            expressions.selected.append("NULL")
        else:
            _add_value(expressions, field, value)
    return expressions


def _add_time(expressions: Expressions, field: Field, value: Value | None, rules: Rules) -> None:
    column, sql_type = (value.sql, value.sql_type) if value else ("NULL", "VARCHAR")
    time = instants.time_columns(column, sql_type, rules)
    expressions.selected += [time.stamp, time.unit, time.other]
    expressions.add_layers(time.layers)
    if value:
        expressions.checks += values.time_checks(field.name, column, sql_type, time.is_read)


def _add_value(expressions: Expressions, field: Field, value: Value) -> None:
    expressions.add_layers([values.layer(field.kind, field.name, value.sql, value.sql_type)])
    expressions.selected.append(values.layer_name(field.name))
    # a field that the file lacks cannot be bad
    expressions.checks += values.checks_of(field.kind, field.name, value.sql, value.sql_type)


def _repeated_header(found: Mapping[str, Value]) -> list[Check]:
    """When a row holds the names of its columns, as where files were joined into one."""
    named = {
        field: value
        for field, value in found.items()
        if value.sql_type == "VARCHAR" and value.sql == name(value.shown)
    }
    if not named:
        return []
    # the first name of a joined file may have its byte order mark
    conditions = [
        f"({value.sql} = {text(value.shown)} OR {value.sql} = {text(_MARK + value.shown)})"
        for value in named.values()
    ]
    field, value = next(iter(named.items()))
    return [Check(field, value.sql, " AND ".join(conditions), "repeats the header")]


def _types_of_columns(table: str, found: Mapping[str, Value]) -> list[Check]:
    """When a row says what its columns hold, or is a line below the header.

    Rows of events have a time, which neither is.
    """
    named = [value.sql for value in found.values() if value.sql_type == "VARCHAR"]
    if table == "events" or len(named) < 2:
        return []
    types = " AND ".join(is_one_of(f"lower(trim({sql}))", _TYPE_WORDS) for sql in named)
    dashes = " AND ".join(f"starts_with({sql}, '--') AND trim({sql}, '-') = ''" for sql in named)
    field, value = next(iter(found.items()))
    return [
        Check(field, value.sql, types, "holds types of columns"),
        Check(field, value.sql, dashes, "is a line of dashes"),
    ]


def _totals(table: str, found: Mapping[str, Value]) -> list[Check]:
    """When a row of events without a time is the sum below a report."""
    user, time = found.get("user"), found.get("timestamp")
    if table != "events" or user is None or time is None or user.sql_type != "VARCHAR":
        return []
    # blank times are few, and looked at first
    is_blank = f"{time.sql} IS NULL"
    if time.sql_type == "VARCHAR":
        is_blank = f"({is_blank} OR {time.sql} = '')"
    is_total = is_one_of(f"lower(trim({user.sql}, ' :'))", _TOTALS)
    condition = f"CASE WHEN {is_blank} THEN {is_total} ELSE false END"
    return [Check("user", user.sql, condition, "is a row of totals")]


def _negative_weight(table: str, found: Mapping[str, Value]) -> list[Check]:
    """When the weight of a friendship says distrust or a block."""
    weight = found.get("weight")
    if table != "social" or weight is None:
        return []
    is_negative = f"{values.layer_name('weight')} < 0"
    return [Check("weight", weight.sql, is_negative, "is negative: friends weigh more than 0")]
