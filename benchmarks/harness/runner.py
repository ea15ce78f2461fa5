"""Runs the cases of a suite, group by group, and writes a row a case as soon as its group is
measured.

A case that does not fit into memory, computes something else than its reference or beats the
hardware is a row that says so; the others go on.
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

from benchmarks.harness import hardware, statistics
from benchmarks.harness.cases import Case, NotRun, Work, Wrong
from benchmarks.harness.hardware import PeakMemory, Peaks
from benchmarks.harness.roofline import against_ceiling
from benchmarks.harness.schema import (
    FAILED,
    NOT_RUN,
    OK,
    OUT_OF_MEMORY,
    WRONG,
    Results,
    Row,
    Run,
    Writer,
)
from benchmarks.harness.timing import Clocked, Compilations, compilations, rounds
from socialrec_jax.runtime.environment import environment

_NO_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory")  # how accelerators say it, and how CPUs do


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long a group is measured: at least min_rounds, then until the budget is spent or
    max_rounds are done.
    """

    min_rounds: int = 8
    max_rounds: int = 200
    seconds_per_case: float = 4.0


@dataclasses.dataclass
class _Ready:
    case: Case
    work: Work
    clocked: Clocked
    compiled: Compilations
    memory: PeakMemory


def run_suite(suite: str, cases: Sequence[Case], effort: Effort, out: Path) -> Results:
    """Measure all cases into out/SUITE.jsonl; what an interrupt leaves there is whole lines."""
    ceiling, where = hardware.peaks(), environment()
    run = Run(
        suite=suite,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]),
        commit=where["commit"],
        config_hash=config_hash(suite, cases, effort),
        environment=where,
        hardware=dataclasses.asdict(ceiling),
    )
    writer, rows = Writer(out / f"{suite}.jsonl", run), []
    for _, group in itertools.groupby(
        cases, key=lambda case: case.group or (case.name, case.preset)
    ):
        for row in _measure(suite, list(group), effort, ceiling):
            writer.write(row)
            rows.append(row)
            print(f"{row.case} [{row.preset}]: {row.reason or row.status}", file=sys.stderr)
    return Results(run, rows)


def config_hash(suite: str, cases: Sequence[Case], effort: Effort) -> str:
    asked = [suite, [(case.name, case.preset) for case in cases], dataclasses.asdict(effort)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def _measure(suite: str, group: list[Case], effort: Effort, ceiling: Peaks) -> Iterator[Row]:
    """Rows of a group, in the order of its cases."""
    rows, ready = {}, []
    for case in group:
        one = _prepare(suite, case)
        if isinstance(one, Row):
            rows[case] = one
        else:
            ready.append(one)
    try:
        rows |= _timed(suite, ready, effort, ceiling)
    finally:
        for one in ready:
            one.work.close()
    ready.clear()
    gc.collect()  # what the next group needs may need all of the memory
    for case in group:
        yield rows[case]


def _prepare(suite: str, case: Case) -> _Ready | Row:
    memory = PeakMemory()
    try:
        with compilations() as compiled:
            work = case.prepare()
            clocked = Clocked(work.call, work.carry)
            clocked.warm_up()
        return _Ready(case, work, clocked, compiled, memory)
    except Exception as error:
        return _failure(suite, case, error)


def _timed(suite: str, ready: list[_Ready], effort: Effort, ceiling: Peaks) -> dict[Case, Row]:
    try:
        with compilations() as recompiled:
            budget = effort.seconds_per_case * len(ready)
            cases = [one.clocked for one in ready]
            measured = rounds(cases, effort.min_rounds, effort.max_rounds, budget) if cases else []
    except Exception as error:
        return {one.case: _failure(suite, one.case, error) for one in ready}
    return {one.case: _row(suite, one, measured, recompiled.count, ceiling) for one in ready}


def _row(
    suite: str, one: _Ready, yardsticks: list[float], recompilations: int, ceiling: Peaks
) -> Row:
    work, seconds = one.work, one.clocked.seconds
    p10, p50, p90, p99 = statistics.quantiles(seconds)
    row = Row(
        suite=suite,
        case=one.case.name,
        preset=one.case.preset,
        status=OK,
        unit=work.unit,
        units_per_call=work.units_per_call,
        padding_share=work.padding_share,
        devices=work.devices,
        seconds=seconds,
        yardstick_seconds=yardsticks,
        p10=p10,
        p50=p50,
        p90=p90,
        p99=p99,
        spread=statistics.spread(seconds),
        noisy=statistics.spread(seconds) > statistics.NOISY,
        units_per_second=work.units_per_call / p50,
        wait_share=work.wait_share() if work.wait_share else None,
        trace_seconds=one.compiled.trace_seconds,
        lower_seconds=one.compiled.lower_seconds,
        compile_seconds=one.compiled.compile_seconds,
        compilations=one.compiled.count,
        recompilations=recompilations,
        peak_memory_bytes=work.peak_memory() if work.peak_memory else one.memory.read(),
        flops=work.flops,
        bytes=work.bytes,
        network_bytes=work.network_bytes,
    )
    return _checked(one, against_ceiling(row, work, ceiling))


def _checked(one: _Ready, row: Row) -> Row:
    try:
        one.work.check(one.clocked.carry)
        return row
    except Exception as error:
        failure = _failure(row.suite, one.case, error)
        return dataclasses.replace(row, status=failure.status, reason=failure.reason)


def _failure(suite: str, case: Case, error: Exception) -> Row:
    text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return Row(
            suite=suite, case=case.name, preset=case.preset, status=OUT_OF_MEMORY, reason=text
        )
    if isinstance(error, NotRun):
        return Row(
            suite=suite, case=case.name, preset=case.preset, status=NOT_RUN, reason=str(error)
        )
    status = WRONG if isinstance(error, Wrong) else FAILED
    return Row(suite=suite, case=case.name, preset=case.preset, status=status, reason=text)
