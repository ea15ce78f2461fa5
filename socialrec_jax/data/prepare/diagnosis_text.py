"""A diagnosis as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from socialrec_jax.data.prepare.doctor import Diagnosis
from socialrec_jax.data.prepare.problems import Problem
from socialrec_jax.data.prepare.schema import TABLES, suggest

MAX_FILES = 40  # lines of files; a folder may hold thousands of parts
MAX_TYPES = 12


def as_text(diagnosis: Diagnosis) -> str:
    """All that the doctor found, one block a subject, and what to do at the end."""
    blocks = {
        f"files ({diagnosis.title or 'none is read'})": _files(diagnosis.files),
        "columns": _columns(diagnosis),
        "columns that are not used": _unused(diagnosis),
        "contents": _contents(diagnosis),
        "first events": diagnosis.first_events,
        "first rejected rows": diagnosis.first_rejects,
        "problems": [_problem(problem) for problem in diagnosis.problems],
    }
    shown = [_block(title, lines) for title, lines in blocks.items() if lines]
    return "\n".join([*shown, _verdict(diagnosis)])


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines), ""])


def _files(files: Sequence[dict]) -> list[str]:
    width = max((len(file["path"]) for file in files[:MAX_FILES]), default=0)
    lines = [
        f"{file['path']:{width}}  {file['table'] or 'not read':8}  {file['why']}"
        for file in files[:MAX_FILES]
    ]
    more = len(files) - MAX_FILES
    return [*lines, f"... and {more} more"] if more > 0 else lines


def _columns(diagnosis: Diagnosis) -> list[str]:
    return [
        f"{table:8}  {', '.join(f'{field}={column}' for field, column in columns.items())}"
        for table, columns in diagnosis.columns.items()
    ]


def _unused(diagnosis: Diagnosis) -> list[str]:
    """Unused columns, and which of them may be a field that has no column."""
    lines = []
    for table, columns in diagnosis.unused.items():
        missing = [f for f in TABLES[table] if f.name not in diagnosis.columns[table]]
        guesses = suggest(missing, columns)
        advice = ",".join(f"{field}={column}" for field, column in guesses.items())
        shown = ", ".join(columns)
        # a guess is shown where the field has no column yet
        if columns:
            lines.append(f"{table:8}  {shown}" + (f"  (--data.map {advice}?)" if advice else ""))
    return lines


def _contents(diagnosis: Diagnosis) -> list[str]:
    counts = [
        f"{count:,} {name.replace('_', ' ')}" for name, count in diagnosis.counts.items() if count
    ]
    lines = {
        "counts": ", ".join(counts),
        "time": _time(diagnosis),
        "types": _types(diagnosis.event_types),
        "joins": ", ".join(
            f"{share:.0%} of the ids of {table} occur in events"
            for table, share in diagnosis.joins.items()
        ),
        "to test": ", ".join(
            f"{users:,} users by --split {split}" for split, users in diagnosis.to_judge.items()
        ),
    }
    return [f"{name:8}  {text}" for name, text in lines.items() if text]


def _time(diagnosis: Diagnosis) -> str:
    first, last = diagnosis.time["min"], diagnosis.time["max"]
    return f"{first} to {last}" if first else ""


def _types(types: dict[str, int]) -> str:
    listed = [f"{name} {count:,}" for name, count in list(types.items())[:MAX_TYPES]]
    return ", ".join([*listed, "..."] if types.keys() - list(types)[:MAX_TYPES] else listed)


def _problem(problem: Problem) -> str:
    # messages name their table or file themselves
    return f"{problem.level:8}  {problem.message}"


def _verdict(diagnosis: Diagnosis) -> str:
    errors = sum(problem.level == "error" for problem in diagnosis.problems)
    warnings = len(diagnosis.problems) - errors
    if errors:
        return f"{errors} to mend before training ({warnings} warnings)"
    return f"can be trained on ({warnings} warnings)"
