"""Runs the cases of a suite, group by group, and writes a row for each case as soon as its group is
measured.

A case that does not fit into memory, computes something else than its reference or is faster than
the hardware allows is a row that says so; the others go on.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import hardware, statistics
from benchmarks.harness.cases import Case, NotRun, Work, WrongResult
from benchmarks.harness.memory import PeakMemory
from benchmarks.harness.roofline import against_ceiling
from benchmarks.harness.schema import (
    FAILED,
    NOT_RUN,
    OK,
    OUT_OF_MEMORY,
    WRONG,
    Peaks,
    Results,
    Row,
    Run,
    Writer,
)
from benchmarks.harness.timing import Compilations, TimedCase, compilations, time_in_turn
from socialrec_jax.runtime.environment import environment

# How accelerators report it, and how CPUs do.
_OUT_OF_MEMORY_MESSAGES = ("RESOURCE_EXHAUSTED", "Out of memory")


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long a group is measured: at least min_rounds, then until the time is spent or max_rounds
    are done.
    """

    min_rounds: int = 8
    max_rounds: int = 200
    seconds_per_case: float = 4.0


@dataclasses.dataclass
class _PreparedCase:
    """A case that is compiled and warm."""

    case: Case
    work: Work
    timed: TimedCase
    compiled: Compilations
    memory: PeakMemory


def run_suite(suite: str, cases: Sequence[Case], effort: Effort, out: Path) -> Results:
    """Measure all cases into out/SUITE.jsonl; what an interrupt leaves there is whole lines."""
    ceiling = hardware.peaks()
    run = _describe_run(suite, cases, effort, ceiling)
    writer = Writer(out / f"{suite}.jsonl", run)
    rows = []
    for group in _groups(cases):
        for row in _measure(suite, group, effort, ceiling):
            writer.write(row)
            rows.append(row)
            print(f"{row.case} [{row.preset}]: {row.reason or row.status}", file=sys.stderr)
    return Results(run, rows)


def _describe_run(suite: str, cases: Sequence[Case], effort: Effort, ceiling: Peaks) -> Run:
    current = environment()
    return Run(
        suite=suite,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]),
        commit=current["commit"],
        config_hash=config_hash(suite, cases, effort),
        environment=current,
        hardware=dataclasses.asdict(ceiling),
    )


def config_hash(suite: str, cases: Sequence[Case], effort: Effort) -> str:
    """Runs with the same hash have the same cases and the same effort."""
    names = [(case.name, case.preset) for case in cases]
    configuration = [suite, names, dataclasses.asdict(effort)]
    return hashlib.sha256(json.dumps(configuration).encode()).hexdigest()[:12]


def _groups(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Successive cases of one group; a case without a group is alone."""
    for _, group in itertools.groupby(cases, key=lambda c: c.group or (c.name, c.preset)):
        yield list(group)


def _measure(suite: str, group: list[Case], effort: Effort, ceiling: Peaks) -> Iterator[Row]:
    """Rows of a group, in the order of its cases."""
    rows: dict[Case, Row] = {}
    prepared: list[_PreparedCase] = []
    for case in group:
        result = _prepare(suite, case)
        if isinstance(result, Row):
            rows[case] = result
        else:
            prepared.append(result)
    try:
        rows |= _time(suite, prepared, effort, ceiling)
    finally:
        for one in prepared:
            one.work.close()
    # The next group may need all of the memory.
    prepared.clear()
    gc.collect()
    for case in group:
        yield rows[case]


def _prepare(suite: str, case: Case) -> _PreparedCase | Row:
    memory = PeakMemory()
    try:
        with compilations() as compiled:
            work = case.prepare()
            timed = TimedCase(work.call, work.carry)
            timed.warm_up()
        return _PreparedCase(case, work, timed, compiled, memory)
    except Exception as error:
        return _failure(suite, case, error)


def _time(
    suite: str, prepared: list[_PreparedCase], effort: Effort, ceiling: Peaks
) -> dict[Case, Row]:
    """A row for each prepared case."""
    if not prepared:
        return {}
    budget = effort.seconds_per_case * len(prepared)
    timed = [one.timed for one in prepared]
    try:
        with compilations() as recompiled:
            calibration = time_in_turn(timed, effort.min_rounds, effort.max_rounds, budget)
    except Exception as error:
        return {one.case: _failure(suite, one.case, error) for one in prepared}
    rows = {}
    for one in prepared:
        row = _row(suite, one, calibration, recompiled.count)
        row = against_ceiling(row, one.work, ceiling)
        rows[one.case] = _checked(one, row)
    return rows


def _row(
    suite: str, one: _PreparedCase, calibration_seconds: list[float], recompilations: int
) -> Row:
    """What was measured, not yet checked."""
    work, compiled = one.work, one.compiled
    # Work in another process counts its own memory.
    peak_memory = work.peak_memory or one.memory.read
    return Row(
        suite=suite,
        case=one.case.name,
        preset=one.case.preset,
        status=OK,
        unit=work.unit,
        units_per_call=work.units_per_call,
        padding_share=work.padding_share,
        devices=work.devices,
        calibration_seconds=calibration_seconds,
        wait_share=work.wait_share() if work.wait_share else None,
        trace_seconds=compiled.trace_seconds,
        lower_seconds=compiled.lower_seconds,
        compile_seconds=compiled.compile_seconds,
        compilations=compiled.count,
        recompilations=recompilations,
        peak_memory_bytes=peak_memory(),
        flops=work.flops,
        bytes=work.bytes,
        network_bytes=work.network_bytes,
        **_seconds(one.timed.seconds, work.units_per_call),
    )


def _seconds(seconds: list[float], units_per_call: float) -> dict[str, Any]:
    """The fields of a row that follow from the seconds of its rounds."""
    p10, p50, p90, p99 = statistics.quantiles(seconds)
    spread = statistics.spread(seconds)
    return {
        "seconds": seconds,
        "p10": p10,
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "spread": spread,
        "noisy": spread > statistics.NOISY,
        "units_per_second": units_per_call / p50,
    }


def _checked(one: _PreparedCase, row: Row) -> Row:
    """The row, or what its check says."""
    try:
        one.work.check(one.timed.carry)
        return row
    except Exception as error:
        failure = _failure(row.suite, one.case, error)
        return dataclasses.replace(row, status=failure.status, reason=failure.reason)


def _failure(suite: str, case: Case, error: Exception) -> Row:
    """The row of a case that ended with an exception."""
    status, reason = _status_of(error)
    return Row(suite=suite, case=case.name, preset=case.preset, status=status, reason=reason)


def _status_of(error: Exception) -> tuple[str, str]:
    """(status, reason) of an exception."""
    if isinstance(error, NotRun):
        return NOT_RUN, str(error)
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    no_memory = any(message in str(error) for message in _OUT_OF_MEMORY_MESSAGES)
    if no_memory or isinstance(error, MemoryError):
        return OUT_OF_MEMORY, reason
    return WRONG if isinstance(error, WrongResult) else FAILED, reason
