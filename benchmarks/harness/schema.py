"""What a result file holds: JSON lines, one `Run` and then a `Row` for each case. Each line is
whole as soon as it is written.

A file that an interrupt or a kill cut short is read up to its last whole line.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from socialrec_jax.errors import BadData, InputMissing

SCHEMA_VERSION = 3
# Version 3 adds what may be absent: `checked`, `references` and the status NOT_REACHED.
_READABLE_VERSIONS = (2, 3)

OK = "ok"
OUT_OF_MEMORY = "out of memory"
NOT_RUN = "not run"
NOT_REACHED = "not reached"  # the suite's time was over before
WRONG = "wrong"
IMPOSSIBLE = "impossible"
FAILED = "failed"
STATUSES = (OK, OUT_OF_MEMORY, NOT_RUN, NOT_REACHED, WRONG, IMPOSSIBLE, FAILED)

BOUNDS = ("compute", "memory", "launch", "input", "network", "host", "n/a")


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Ceilings of one device; None where no source says."""

    device: str
    source: str
    float32: float | None = None  # FLOP/s of matrix products with JAX's default precision
    bfloat16: float | None = None  # FLOP/s, dense
    bandwidth: float | None = None  # bytes/s of main memory
    interconnect: float | None = None  # bytes/s to the other devices of this host, one way

    def flops(self, dtype: str) -> float | None:
        return self.bfloat16 if dtype == "bfloat16" else self.float32


@dataclasses.dataclass(frozen=True)
class Reference:
    """A figure that others published: a goal to look at, never a measurement of this project."""

    name: str  # who or what
    figure: float
    unit: str  # TFLOP/s, or units a second: tokens/s, ids/s, ...
    hardware: str
    source: str
    remark: str = ""  # what differs from the case beside it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One call of `python -m benchmarks run`."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    started: str  # ISO 8601, UTC
    command: str
    commit: str | None
    config_hash: str  # of suite, cases and effort: two runs with different ones are not comparable
    environment: dict
    hardware: dict  # Peaks of one device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One case. Seconds are of one call; None is "not known here" or "does not apply"."""

    suite: str
    case: str
    preset: str
    status: str  # one of STATUSES
    reason: str = ""  # of a status that is not ok
    unit: str = ""  # what is counted: events, users, tokens, ...
    units_per_call: float | None = None  # without padding
    padding_share: float | None = None
    devices: int = 1
    # One value for each round, in their order; the calibration load was timed in the same rounds.
    seconds: list[float] = dataclasses.field(default_factory=list)
    calibration_seconds: list[float] = dataclasses.field(default_factory=list)
    p10: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    spread: float | None = None  # (p90 - p10) / p50
    noisy: bool = False
    units_per_second: float | None = None
    wait_share: float | None = None  # of the time, waiting for data
    trace_seconds: float | None = None
    lower_seconds: float | None = None
    compile_seconds: float | None = None
    compilations: int | None = None  # before the first timed round
    recompilations: int | None = None  # in the timed rounds: anything but 0 makes them useless
    peak_memory_bytes: int | None = None
    flops: float | None = None  # of one call, closed form
    bytes: float | None = None  # the least traffic of one call, closed form
    network_bytes: float | None = None  # that each device sends in one call, closed form
    mfu: float | None = None
    bandwidth_share: float | None = None
    network_share: float | None = None
    bound_by: str = "n/a"  # one of BOUNDS
    checked: str = ""  # what the result was compared with, at which shape, and how close it was
    references: list[dict] = dataclasses.field(default_factory=list)  # fields of Reference


@dataclasses.dataclass(frozen=True)
class Results:
    run: Run
    rows: list[Row]

    def by_case(self) -> dict[tuple[str, str], Row]:
        return {(row.case, row.preset): row for row in self.rows}


class Writer:
    """Appends whole lines; what is written stays, whatever happens next."""

    def __init__(self, path: Path, run: Run):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        path.write_text(_to_line("run", run))

    def write(self, row: Row) -> None:
        with self._path.open("a") as file:
            file.write(_to_line("row", row))


def read(path: Path) -> Results:
    """A result file. Raises InputMissing or BadData with one line otherwise."""
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        raise InputMissing(
            f"{path} is no result file; make one with python -m benchmarks run --out DIR"
        ) from None
    entries = []
    for number, line in enumerate(lines, 1):
        entries.append(_parse(line, path, is_last=number == len(lines)))
    runs = [entry for entry in entries if isinstance(entry, Run)]
    if len(runs) != 1:
        raise BadData(
            f"{path} has {len(runs)} lines that describe a run, not one: it is no result file"
        )
    return Results(runs[0], [entry for entry in entries if isinstance(entry, Row)])


def _to_line(kind: str, entry: Run | Row) -> str:
    values = {"kind": kind} | dataclasses.asdict(entry)
    return json.dumps(values, allow_nan=False) + "\n"


def _parse(line: str, path: Path, is_last: bool) -> Run | Row | None:
    try:
        values = json.loads(line)
        kind = {"run": Run, "row": Row}[values.pop("kind")]
    except (ValueError, KeyError, AttributeError, TypeError):
        # A kill may have cut the last line short.
        if is_last:
            return None
        raise BadData(f"{path} is no result file: a line is not JSON of a run or a row") from None
    validate(kind, values, path)
    return kind(**values)


def validate(kind: type, values: dict, path: Path) -> None:
    """Raise BadData on a field that is missing, unknown or of another type."""
    if kind is Run:
        _validate_version(values.get("schema_version"), path)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := values.keys() - fields.keys():
        raise BadData(f"{path} has unknown fields {sorted(unknown)}")
    for name, expected in typing.get_type_hints(kind).items():
        _validate_field(fields[name], values, expected, path)
    if kind is Row:
        _validate_words(values, path)
        for reference in values.get("references", []):
            validate(Reference, reference, path)


def _validate_version(version: object, path: Path) -> None:
    if version not in _READABLE_VERSIONS:
        readable = " and ".join(map(str, _READABLE_VERSIONS))
        raise BadData(
            f"{path} has schema version {version}, this program reads {readable};"
            " measure again, or read it with the commit that wrote it"
        )


def _validate_field(field: dataclasses.Field, values: dict, expected: Any, path: Path) -> None:
    if field.name not in values:
        if _is_required(field):
            raise BadData(f"{path} has no {field.name}")
        return
    value = values[field.name]
    if not _has_type(value, expected):
        raise BadData(f"{path}: {field.name} is {value!r}, not {expected}")


def _is_required(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _validate_words(values: dict, path: Path) -> None:
    for name, allowed in {"status": STATUSES, "bound_by": BOUNDS}.items():
        value = values.get(name, allowed[-1])
        if value not in allowed:
            raise BadData(f"{path}: {name} {value!r} is none of {', '.join(allowed)}")


def _has_type(value: object, expected: Any) -> bool:
    if typing.get_origin(expected) is list:
        (inner,) = typing.get_args(expected)
        return isinstance(value, list) and all(_has_type(item, inner) for item in value)
    allowed = typing.get_args(expected) or (expected,)
    # Python's bool is an int, JSON's is not.
    if isinstance(value, bool):
        return bool in allowed
    # JSON writes a whole float as an int.
    return isinstance(value, allowed) or (isinstance(value, int) and float in allowed)
