"""The doctor: what a folder of raw tables would become, and what to mend first.

It calls the functions of `prepare` in their order, in a scratch folder. Where `prepare` stops at
the first error, the doctor notes it and goes on with the other tables.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data.prepare.build import (
    RawColumns,
    check_mapping,
    files_of,
    filter_events,
    join_shares,
    number_columns,
    parts_of_split,
    split_events,
)
from socialrec_jax.data.prepare.engines.engine import Engine, Part
from socialrec_jax.data.prepare.engines.selection import open_engine
from socialrec_jax.data.prepare.event_checks import users_with_new_items, warn_of_odd_events
from socialrec_jax.data.prepare.formats import OWN_NAMES, Found, Tables, find
from socialrec_jax.data.prepare.locations import refuse_address
from socialrec_jax.data.prepare.problems import Problem, Problems
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rejects import (
    check_parts,
    check_share,
    described,
    find_rejects,
    reject_all,
)
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.data.world import TEST, Events
from socialrec_jax.errors import InputMissing, UserError

SPLITS: tuple[Split, ...] = ("leave-one-out", "time")
FIRST_EVENTS = 5
SHOWN_REJECTS = 3  # of a table
COUNTS = ("users", "items", "events", "social_edges", "items_with_text", "rejected")


@dataclasses.dataclass
class Diagnosis:
    """What a folder holds. Fields that JSON has are those of docs/data.md."""

    files: list[dict] = dataclasses.field(default_factory=list)
    columns: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    time: dict[str, str | None] = dataclasses.field(
        default_factory=lambda: {"min": None, "max": None}
    )
    event_types: dict[str, int] = dataclasses.field(default_factory=dict)
    joins: dict[str, float] = dataclasses.field(default_factory=dict)
    to_judge: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    # for people alone
    title: str = ""
    unused: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # columns by table
    first_events: list[str] = dataclasses.field(default_factory=list)
    first_rejects: list[str] = dataclasses.field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        return any(problem.level == "error" for problem in self.problems)

    def to_json(self) -> str:
        fields = dataclasses.asdict(self)
        for name in ("title", "unused", "first_events", "first_rejects"):
            del fields[name]
        return json.dumps(fields, indent=1, ensure_ascii=False)


@dataclasses.dataclass(frozen=True)
class _Step:
    """What the steps of preparation work on."""

    engine: Engine
    tables: Tables
    config: DataConfig
    split: Split
    problems: Problems
    scratch: Path


def check(folder: Path, config: DataConfig, split: Split = "leave-one-out") -> Diagnosis:
    """What `prepare` would make of a folder. InputMissing: there is no such folder."""
    refuse_address(folder)
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder")
    # an option that cannot be understood is no matter of the data
    rules, options = Rules.of(config), TextOptions.of(config)
    problems, found = Problems(), Found("", {})
    with problems.collected(), tempfile.TemporaryDirectory() as name:
        with problems.step():
            found = find(folder, options=options)
        problems.files = _paths(found.tables)
        files = _files(folder, found)
        diagnosis = Diagnosis(files=files, problems=problems.all, title=found.title)
        if found.tables:
            with open_engine(Path(name), files_of(found.tables), rules, config) as engine:
                step = _Step(engine, found.tables, config, split, problems, Path(name))
                _read(diagnosis, step)
    return diagnosis


def _paths(tables: Tables) -> dict[str, list[Path]]:
    return {table: [source.path for source in sources] for table, sources in tables.items()}


def _files(folder: Path, found: Found) -> list[dict]:
    """Every file of the folder, its table, and why it is read or not."""
    tables = {
        source.path: (table, source)
        for table, sources in found.tables.items()
        for source in sources
    }
    described_files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        table, source = tables.get(path, (None, None))
        why = _why_not_read(relative, found)
        if table is not None and source is not None:
            why = _why_read(relative, source, table, found)
        file = {"path": relative.as_posix(), "table": table, "used": table is not None, "why": why}
        described_files.append(file)
    return described_files


def _why_read(path: Path, source: Source, table: str, found: Found) -> str:
    if found.title != OWN_NAMES:
        return found.title
    why = f"a part of the folder {path.parts[0]}" if path.parts[1:] else f"is named {table}"
    return why + _form(source)


def _form(source: Source) -> str:
    """How a text file is taken apart, where that is not by commas."""
    if source.kind != "text" or (source.delimiter == "," and not source.skip):
        return ""
    skipped = f", {source.skip} lines before the header" if source.skip else ""
    return f"; cells between {source.delimiter!r}{skipped}"


def _why_not_read(path: Path, found: Found) -> str:
    if any(part[0] in "._" for part in path.parts):
        return "its name, or that of a folder of it, begins with . or _"
    if not found.tables:
        return "no table could be found"
    if path.parts[1:]:
        return "is no part file of a table"
    return "no table is known by that name"


def _read(diagnosis: Diagnosis, step: _Step) -> None:
    """Fill in what the tables hold."""
    engine, tables, problems = step.engine, step.tables, step.problems
    # each table is read, even after one that cannot be
    staged = {table: _stage(step, table) for table in TABLES}
    diagnosis.columns = {table: engine.columns_used(table) for table in tables}
    diagnosis.unused = {table: engine.columns_unused(table) for table in tables}
    rejected = _count_rejects(step, staged)
    diagnosis.counts["rejected"] = sum(rejected.values())
    diagnosis.first_rejects = _first_rejects(engine, staged, rejected)
    # nothing is known of users and items unless there are events
    with problems.step("events"):
        _number(diagnosis, step, rejected)


def _number(diagnosis: Diagnosis, step: _Step, rejected: dict[str, int]) -> None:
    """What is known once users and items are numbered. BadData: as in `prepare`."""
    filter_events(step.engine, step.config, k_core=True)
    columns = number_columns(step.engine, step.tables, step.config, rejected)
    check_mapping(columns, step.config)
    diagnosis.joins = join_shares(step.engine, step.tables, columns)
    _describe(diagnosis, columns, step.config)
    warn_of_odd_events(columns.events, columns.user_ids, columns.event_types, step.config)
    # last, for its error must not hide the rest
    split_events(columns.events, step.split, step.config)


def _stage(step: _Step, table: str) -> list[Part]:
    """The parts of a table; where it cannot be read, it is taken for an empty one."""
    with step.problems.step(table):
        return step.engine.stage(table, step.tables.get(table, []))
    return step.engine.stage(table, [])


def _count_rejects(step: _Step, staged: Mapping[str, Sequence[Part]]) -> dict[str, int]:
    """The bad rows of each table. Too many of them are a problem, but the others are read."""
    for table, parts in staged.items():
        with step.problems.step(table):
            check_parts(table, parts)
            check_share(step.engine, table, parts, step.config.max_bad_share)
    patient = dataclasses.replace(step.config, max_bad_share=1.0)
    return reject_all(step.engine, staged, patient, step.scratch / "rejected.parquet")


def _first_rejects(
    engine: Engine, staged: Mapping[str, Sequence[Part]], rejected: Mapping[str, int]
) -> list[str]:
    return [
        f"{table}: {described(reject)}"
        for table, parts in staged.items()
        if rejected[table] or rejected.get(f"repeated_{table}")
        for reject in list(find_rejects(engine, table, parts, SHOWN_REJECTS))[:SHOWN_REJECTS]
    ]


def _describe(diagnosis: Diagnosis, columns: RawColumns, config: DataConfig) -> None:
    events = columns.events
    diagnosis.counts |= {
        "users": len(columns.user_ids),
        "items": len(columns.items.ids),
        "events": len(events.items),
        "social_edges": len(columns.friends.ids),
        "items_with_text": int(columns.items.has_text.sum()),
    }
    counts = np.bincount(events.types, minlength=len(columns.event_types)).tolist()
    diagnosis.event_types = dict(zip(columns.event_types, counts, strict=True))
    diagnosis.to_judge = _users_to_test(events, config)
    diagnosis.time = _time_range(events, config)
    diagnosis.first_events = _first_events(columns, config)


def _time_range(events: Events, config: DataConfig) -> dict[str, str | None]:
    # places of rows are no times
    if config.order != "time" or not len(events.times):
        return {"min": None, "max": None}
    return {"min": iso(int(events.times.min())), "max": iso(int(events.times.max()))}


def iso(seconds: int) -> str:
    """Unix seconds as ISO 8601 in UTC."""
    time = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _users_to_test(events: Events, config: DataConfig) -> dict[str, int]:
    """Users with a new item in the test part of each split, which is what an evaluation ranks."""
    users = {}
    for split in SPLITS:
        try:
            parts = parts_of_split(events, split, config)
        # the split of the settings is tried again, and its error noted
        except UserError:
            users[split] = 0
        else:
            users[split] = users_with_new_items(events, parts == TEST)
    return users


def _first_events(columns: RawColumns, config: DataConfig) -> list[str]:
    """The oldest events in words."""
    events, items = columns.events, columns.items
    lines = []
    for row in np.argsort(events.times, kind="stable")[:FIRST_EVENTS]:
        item = int(events.items[row])
        title = f" {items.titles[item]!r}" if items.titles[item] else ""
        when = f" at {iso(int(events.times[row]))}" if config.order == "time" else ""
        lines.append(
            f"user {columns.user_ids[int(events.owners[row])]}: "
            f"{columns.event_types[events.types[row]]} of item {items.ids[item]}{title}{when}, "
            f"value {events.values[row]:g}"
        )
    return lines
