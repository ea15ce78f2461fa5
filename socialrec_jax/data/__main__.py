"""What a folder of raw tables would become, and what to mend before training on it.

    python -m socialrec_jax.data check DIR           in words
    python -m socialrec_jax.data check DIR --json    as one JSON object, see docs/data.md
    python -m socialrec_jax.data formats             the published layouts that are read
    python -m socialrec_jax.data fetch DIR events=s3://shop/log/*.parquet items=shop.sqlite#items
                                                     copy tables from where they lie

Exit code 65 where a problem is an error, 66 where there is nothing, 69 without an extension of
DuckDB that a place needs.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.errors import BAD_DATA, UsageError
from socialrec_jax.runtime import cli


@dataclasses.dataclass(frozen=True)
class Check:
    """What would be read, and what to mend."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR")]
    """Folder of raw tables."""
    json: bool = False
    """Print one JSON object instead of text."""
    split: Split = "leave-one-out"
    """The split that the data would be trained with."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        from socialrec_jax.data.prepare.diagnosis_text import as_text
        from socialrec_jax.data.prepare.doctor import check

        diagnosis = check(self.source, self.data, self.split)
        print(diagnosis.to_json() if self.json else as_text(diagnosis))
        if diagnosis.has_errors:
            sys.exit(BAD_DATA)


@dataclasses.dataclass(frozen=True)
class Formats:
    """The published layouts that are read as they are."""

    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        from socialrec_jax.data.prepare.layouts.catalogue import as_text

        print(as_text())


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Copy tables from addresses, databases and lakes into a folder for --data."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR")]
    """New folder for the tables."""
    places: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TABLE=PLACE")]
    """Files or a pattern, s3://, gs://, hf:// or https:// of files, DATABASE#TABLE with a file of
    DuckDB or SQLite, postgres:... or mysql:..., or delta:PATH, iceberg:PATH."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        from socialrec_jax.data.prepare.engines.duckdb.fetch import fetch
        from socialrec_jax.data.prepare.locations import location_of

        if not self.places:
            raise UsageError("say what to fetch, such as events=shop.sqlite#orders")
        for path in fetch([location_of(place) for place in self.places], self.out):
            print(path)


TASKS: dict[str, type] = {"check": Check, "formats": Formats, "fetch": Fetch}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the task that the arguments name, by default those of the command line."""
    cli.main(run_task, arguments)


def run_task(arguments: list[str]) -> None:
    prog = "python -m socialrec_jax.data"
    task = cli.parse_task(TASKS, args=arguments, prog=prog, description=__doc__)
    task.run()


if __name__ == "__main__":
    main()
