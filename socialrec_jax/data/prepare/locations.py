"""Where tables lie outside of a folder: files at an address, tables of a database, lake tables.

A location is written TABLE=PLACE. PLACE is a file, a pattern or an address of files
(`s3://shop/log/*.parquet`), a table of a database (`shop.duckdb#orders`, `postgres:dbname=shop
host=db#orders`), or a lake table (`delta:lake/events`, `iceberg:lake/events`).
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

from socialrec_jax.data.prepare.schema import TABLES
from socialrec_jax.errors import BadData, InputMissing, UsageError

Kind = Literal["files", "duckdb", "sqlite", "postgres", "mysql", "delta", "iceberg"]
LAKES: tuple[Kind, ...] = ("delta", "iceberg")
# the extension of DuckDB that reads an address or a kind; what is not here needs none
ADDRESS_EXTENSIONS = {
    **dict.fromkeys(("s3", "gs", "gcs", "r2", "http", "https", "hf"), "httpfs"),
    **dict.fromkeys(("az", "azure", "abfss"), "azure"),
}
EXTENSIONS = {"postgres": "postgres", "mysql": "mysql", "delta": "delta", "iceberg": "iceberg"}
# Path writes one slash of two
_ADDRESS = re.compile(rf"({'|'.join(ADDRESS_EXTENSIONS)}):/+.*")
_DATABASES: dict[str, Kind] = {
    **dict.fromkeys((".duckdb", ".ddb"), "duckdb"),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), "sqlite"),
}
_KINDS: tuple[Kind, ...] = ("duckdb", "sqlite", "postgres", "mysql", *LAKES)
# what a lake writes beside its files, some of which hold rows that were deleted
_LAKE_SIGNS = {"_delta_log": "Delta", ".hoodie": "Hudi", "metadata/*.metadata.json": "Iceberg"}
_FETCH = "python -m socialrec_jax.data fetch FOLDER"


@dataclasses.dataclass(frozen=True)
class Location:
    """One table, and where its rows lie."""

    table: str
    kind: Kind
    place: str  # a path, a pattern, an address, or what a database is reached by
    relation: str | None = None  # the table within a database

    @property
    def extension(self) -> str | None:
        """The extension of DuckDB that is needed; None: what is built in is enough."""
        address = _ADDRESS.fullmatch(self.place)
        return ADDRESS_EXTENSIONS[address[1]] if address else EXTENSIONS.get(self.kind)


def location_of(text: str) -> Location:
    """Take TABLE=PLACE apart. UsageError: it is not written like that."""
    table, _, place = text.partition("=")
    if table not in TABLES or not place:
        raise UsageError(f"{text}: write TABLE=PLACE with one of {', '.join(TABLES)}")
    said: Kind | None = next((kind for kind in _KINDS if place.startswith(f"{kind}:")), None)
    # postgres:dbname=shop is no path, so what stands before it goes
    rest = place.removeprefix(f"{said}:")
    match said:
        case "delta" | "iceberg":
            return Location(table, said, rest)
    path, _, relation = rest.rpartition("#")
    kind = said or _database_kind(path or rest)
    if kind is None:
        return Location(table, "files", place)
    if not path or not relation:
        raise UsageError(f"{text}: say which table of the database, such as {place}#orders")
    return Location(table, kind, path, relation)


def _database_kind(path: str) -> Kind | None:
    """The kind of database by the suffix of its file; None for other files."""
    return _DATABASES.get(Path(path).suffix.lower())


def refuse_address(path: Path) -> None:
    """InputMissing: the path is an address or a database, which is fetched first."""
    text = str(path)
    address = _ADDRESS.fullmatch(text)
    if address:
        place = re.sub(":/+", "://", text, count=1)
        raise InputMissing(f"{place}: fetch it first: {_FETCH} events={place}")
    if path.is_file() and path.suffix.lower() in _DATABASES:
        raise InputMissing(f"{path}: a database: fetch it first: {_FETCH} events={path}#TABLE")


def refuse_lake(folder: Path) -> None:
    """BadData: the folder is a lake table, whose files alone do not say which rows are valid."""
    for sign, lake in _LAKE_SIGNS.items():
        if any(folder.glob(sign)):
            scheme = f"{lake.lower()}:" if lake.lower() in LAKES else ""
            advice = f"fetch it: {_FETCH} {folder.name}={scheme}{folder}"
            if not scheme:
                advice = "write its rows as parquet with the program that made it"
            raise BadData(
                f"{folder} is a table of {lake}: some of its files hold rows that are no longer "
                f"valid; {advice}"
            )
