"""What a result file holds: JSON lines, one `Run` and then a `Row` a case, each line whole as soon
as it is written.

A file that an interrupt or a kill cut short is read up to its last whole line.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

from socialrec_jax.errors import BadData, InputMissing

SCHEMA_VERSION = 1
OK, OUT_OF_MEMORY, NOT_RUN, WRONG, IMPOSSIBLE, FAILED = (
    "ok", "out of memory", "not run", "wrong", "impossible", "failed",
)  # fmt: skip
STATUSES = (OK, OUT_OF_MEMORY, NOT_RUN, WRONG, IMPOSSIBLE, FAILED)
BOUNDS = ("compute", "memory", "launch", "input", "network", "host", "n/a")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One call of `python -m benchmarks run`."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    started: str  # ISO 8601, UTC
    command: str
    commit: str | None
    config_hash: str  # of suite, presets and repeats: runs with another one answer another question
    environment: dict
    hardware: dict  # peaks of one device, see hardware.Peaks


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
    seconds: list[float] = dataclasses.field(default_factory=list)  # a round each, in their order
    yardstick_seconds: list[float] = dataclasses.field(
        default_factory=list
    )  # a fixed piece of work, the same rounds
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
    recompilations: int | None = None  # in the timed rounds: anything but 0 spoils them
    peak_memory_bytes: int | None = None
    flops: float | None = None  # of one call, closed form
    bytes: float | None = None  # the least traffic of one call, closed form
    network_bytes: float | None = None  # that each device sends in one call, closed form
    mfu: float | None = None
    bandwidth_share: float | None = None
    network_share: float | None = None
    bound_by: str = "n/a"  # one of BOUNDS


@dataclasses.dataclass(frozen=True)
class Results:
    run: Run
    rows: list[Row]

    def by_case(self) -> dict[tuple[str, str], Row]:
        return {(row.case, row.preset): row for row in self.rows}


class Writer:
    """Appends whole lines; what is written stays whatever happens next."""

    def __init__(self, path: Path, run: Run):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        path.write_text(_line("run", run))

    def write(self, row: Row) -> None:
        with self._path.open("a") as file:
            file.write(_line("row", row))


def read(path: Path) -> Results:
    """A result file; InputMissing or BadData with one line otherwise."""
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        raise InputMissing(
            f"{path} is no result file; make one with python -m benchmarks run --out DIR"
        ) from None
    parsed = [
        _parse(line, path, is_last=number == len(lines)) for number, line in enumerate(lines, 1)
    ]
    runs = [entry for entry in parsed if isinstance(entry, Run)]
    if len(runs) != 1:
        raise BadData(
            f"{path} has {len(runs)} lines that describe a run, not one: it is no result file"
        )
    return Results(runs[0], [entry for entry in parsed if isinstance(entry, Row)])


def _line(kind: str, entry: Run | Row) -> str:
    return json.dumps({"kind": kind} | dataclasses.asdict(entry), allow_nan=False) + "\n"


def _parse(line: str, path: Path, is_last: bool) -> Run | Row | None:
    try:
        values = json.loads(line)
        kind = {"run": Run, "row": Row}[values.pop("kind")]
    except (ValueError, KeyError, AttributeError, TypeError):
        if is_last:  # torn by a kill
            return None
        raise BadData(f"{path} is no result file: a line is not JSON of a run or a row") from None
    validate(kind, values, path)
    return kind(**values)


def validate(kind: type, values: dict, path: Path) -> None:
    """Raise BadData on a field that is missing, unknown or of another type."""
    if kind is Run and values.get("schema_version") != SCHEMA_VERSION:
        raise BadData(
            f"{path} has schema version {values.get('schema_version')}, this program reads {SCHEMA_VERSION}"
        )
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := values.keys() - fields.keys():
        raise BadData(f"{path} has unknown fields {sorted(unknown)}")
    for name, expected in typing.get_type_hints(kind).items():
        field = fields[name]
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if name not in values and not required:
            continue
        if not _fits(values.get(name), expected, missing=name not in values):
            raise BadData(f"{path}: {name} is {values.get(name)!r}, not {expected}")
    if kind is Row and (
        values["status"] not in STATUSES or values.get("bound_by", "n/a") not in BOUNDS
    ):
        raise BadData(
            f"{path}: status {values['status']!r} or bound_by {values.get('bound_by')!r} is unknown"
        )


def _fits(value: object, expected, *, missing: bool) -> bool:
    if missing:
        return False
    if typing.get_origin(expected) is list:
        (inner,) = typing.get_args(expected)
        return isinstance(value, list) and all(_fits(item, inner, missing=False) for item in value)
    allowed = typing.get_args(expected) or (expected,)
    if isinstance(value, bool):
        return bool in allowed
    return isinstance(value, allowed) or (isinstance(value, int) and float in allowed)
