"""What a public format says of its files that they do not say themselves.

A layout is recognised by its events files. Fields are matched by the synonyms of `schema.py`; a
layout only says the delimiter, the names of columns without a header, text that needs taking apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from socialrec_jax.data.prepare.derived import Constant, Derived


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of one table that are read alike: a glob pattern, and options of `Source`."""

    pattern: str
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A public format. Every table is read from the files that exist; events must exist."""

    title: str
    tables: Mapping[str, tuple[Files, ...]]
    also_needs: tuple[str, ...] = ()  # files that tell it from another format
    has_times: bool = True
    left_out: str = ""  # what is not read, and why

    @property
    def patterns(self) -> list[str]:
        return [files.pattern for table in self.tables.values() for files in table]


def one(pattern: str, **options: object) -> tuple[Files, ...]:
    """A table of one kind of files, with a header and commas unless the options say otherwise."""
    return (Files(pattern, options),)


def plain(
    pattern: str, delimiter: str, *names: str, encoding: str = "utf-8", **derived: Derived
) -> tuple[Files, ...]:
    """A table of unquoted text; with names the files have no header."""
    options: dict[str, object] = {"delimiter": delimiter, "quote": "", "encoding": encoding}
    if derived:
        options["derived"] = derived
    if names:
        options |= headless(*names)
    return (Files(pattern, options),)


def typed(event_type: str, **options: object) -> dict[str, object]:
    """Options of files whose events are all of one type."""
    return {**options, "derived": {"event_type": Constant(event_type)}}


def headless(*names: str) -> dict[str, object]:
    """Options of files that begin with their first row."""
    return {"names": names, "has_header": False}
