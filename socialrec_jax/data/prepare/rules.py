"""What the user says about the tables: which column is which field, which event types are one."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from socialrec_jax.config import DataConfig
from socialrec_jax.errors import UsageError

TABLE_NAMES = ("events", "social", "items", "users")
FIELDS = (
    *("user", "item", "timestamp", "event_type", "value", "src", "dst", "weight"),
    *("title", "description", "tags", "category", "price", "available"),
)


@dataclasses.dataclass(frozen=True)
class Rules:
    """Settings of `config.DataConfig` that decide how files are read."""

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Field, or table and field as `items.item` -> the plain name of its column."""
    ignored: frozenset[str] = frozenset()  # plain names of columns
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Folded event type -> the type that it is."""
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Table -> the columns of its text files, which have no header."""
    order: Literal["time", "file", "random"] = "time"
    first_year: int = 1990
    last_year: int = 2100
    own_clock: bool = False  # times are seconds from about 0, as those of the World are

    @classmethod
    def of(cls, config: DataConfig) -> Rules:
        """UsageError: an option is not written as it should be."""
        next_year = datetime.datetime.now(datetime.UTC).year + 1
        last_year = config.last_year or next_year
        if last_year < config.first_year:
            raise UsageError(
                f"--data.last-year {last_year} lies before --data.first-year {config.first_year}"
            )
        return cls(
            columns=_columns(config.map),
            ignored=frozenset(map(plain_name, _parts(config.ignore))),
            types=_types(config.types),
            names=_names(config.names),
            order=config.order,
            first_year=config.first_year,
            last_year=last_year,
        )

    def of_table(self, table: str) -> Rules:
        """The same for one table: columns that were named for it go before those for all."""
        general = {field: column for field, column in self.columns.items() if "." not in field}
        of_table = {
            field.removeprefix(f"{table}."): column
            for field, column in self.columns.items()
            if field.startswith(f"{table}.")
        }
        return dataclasses.replace(self, columns=general | of_table)


def plain_name(column: str) -> str:
    """A column's name without case, blanks and punctuation."""
    plain = re.sub(r"[\W_]", "", column.lower())
    # a name of punctuation alone stays what it is
    return plain or column.lower()


def folded_type(name: str) -> str:
    """Event types are the same without regard to case, surrounding blanks and what joins words.

    `Add to Cart`, `add-to-cart` and `add_to_cart` are one type.
    """
    return re.sub("[ -]", "_", name.strip().lower())


def _parts(texts: Sequence[str]) -> list[str]:
    parts = [part.strip() for text in texts for part in text.split(",")]
    return [part for part in parts if part]


def _columns(options: Sequence[str]) -> dict[str, str]:
    columns = {}
    for option in _parts(options):
        field, _, column = option.partition("=")
        table, _, name = field.rpartition(".")
        if name not in FIELDS or not column or table not in ("", *TABLE_NAMES):
            raise UsageError(
                f"--data.map {option}: write FIELD=COLUMN, or TABLE.FIELD=COLUMN for one table, "
                f"with one of {', '.join(FIELDS)}"
            )
        columns[field] = plain_name(column)
    _refuse_two_fields(columns, options)
    return columns


def _refuse_two_fields(columns: Mapping[str, str], options: Sequence[str]) -> None:
    # two tables may call different things by one name
    scopes = [(field.rpartition(".")[0], column) for field, column in columns.items()]
    if len(set(scopes)) < len(scopes):
        raise UsageError(f"--data.map {' '.join(options)}: one column cannot be two fields")


def _names(options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    names = {}
    for option in options:
        table, _, columns = option.partition("=")
        if table not in TABLE_NAMES or not _parts([columns]):
            raise UsageError(
                f"--data.names {option}: write TABLE=COLUMN,COLUMN with one of "
                f"{', '.join(TABLE_NAMES)}, such as events=user,item,timestamp"
            )
        names[table] = tuple(_parts([columns]))
    return names


def _types(options: Sequence[str]) -> dict[str, str]:
    types = {}
    for option in options:
        name, _, others = option.partition("=")
        if not name.strip() or not _parts([others]):
            raise UsageError(f"--data.types {option}: write NAME=TYPE,TYPE, such as view=click,pv")
        # the name as well, so that its other spellings become the one given
        for other in [name, *_parts([others])]:
            types[folded_type(other)] = name.strip()
    return types
