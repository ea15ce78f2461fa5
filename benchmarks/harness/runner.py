"""Runs the cases of a suite, group by group, and writes a row for each case as soon as its group is
measured.

A case that does not fit into memory, computes something else than its reference or is faster than
the hardware allows is a row that says so; the others go on. So is a case that the suite's time did
not reach.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import hardware, rows
from benchmarks.harness.budget import BudgetOver, time_limit
from benchmarks.harness.cases import Case, Work
from benchmarks.harness.memory import PeakMemory
from benchmarks.harness.roofline import against_ceiling
from benchmarks.harness.schema import NOT_REACHED, Peaks, Results, Row, Run, Writer
from benchmarks.harness.timing import Compilations, TimedCase, compilations, time_in_turn
from socialrec_jax.runtime.environment import environment


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


def run_suite(
    suite: str,
    cases: Sequence[Case],
    effort: Effort,
    out: Path,
    budget_seconds: float = 300.0,
    show: Callable[[Row], None] = lambda row: None,
) -> Results:
    """Measure the cases into out/SUITE.jsonl, in their order; what an interrupt leaves there is
    whole lines.

    show: is called with each row as soon as it is known.
    """
    ceiling = hardware.peaks()
    run = _describe_run(suite, cases, effort, ceiling)
    file = out / f"{suite}.jsonl"
    writer, measured = Writer(file, run), []
    try:
        with time_limit(budget_seconds):
            for group in _groups(cases):
                for row in _measure(suite, group, effort, ceiling):
                    measured.append(row)
                    writer.write(row)
                    show(row)
    except BudgetOver:
        measured += _not_reached(suite, cases, measured, budget_seconds)
        # The interrupt may have come while a line was written.
        writer = Writer(file, run)
        for row in measured:
            writer.write(row)
    return Results(run, measured)


def _not_reached(
    suite: str, cases: Sequence[Case], measured: list[Row], budget_seconds: float
) -> list[Row]:
    """A row for each case that has none yet."""
    done = {(row.case, row.preset) for row in measured}
    reason = f"the {budget_seconds:,.0f} seconds of the suite were over"
    return [
        rows.row_without_figures(suite, case, NOT_REACHED, reason)
        for case in cases
        if (case.name, case.preset) not in done
    ]


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
    known: dict[Case, Row] = {}
    prepared: list[_PreparedCase] = []
    try:
        for case in group:
            result = _prepare(suite, case)
            if isinstance(result, Row):
                known[case] = result
            else:
                prepared.append(result)
        known |= _time(suite, prepared, effort, ceiling)
    finally:
        for one in prepared:
            one.work.close()
    # The next group may need all of the memory.
    prepared.clear()
    gc.collect()
    for case in group:
        yield known[case]


def _prepare(suite: str, case: Case) -> _PreparedCase | Row:
    memory = PeakMemory()
    try:
        with compilations() as compiled:
            work = case.prepare()
            timed = TimedCase(work.call, work.carry)
            if not case.single_call:
                timed.warm_up()
        return _PreparedCase(case, work, timed, compiled, memory)
    except Exception as error:
        return rows.failed_row(suite, case, error)


def _time(
    suite: str, prepared: list[_PreparedCase], effort: Effort, ceiling: Peaks
) -> dict[Case, Row]:
    """A row for each prepared case."""
    if not prepared:
        return {}
    effort = _effort_for(prepared, effort)
    budget = effort.seconds_per_case * len(prepared)
    timed = [one.timed for one in prepared]
    try:
        with compilations() as recompiled:
            calibration = time_in_turn(timed, effort.min_rounds, effort.max_rounds, budget)
    except Exception as error:
        return {one.case: rows.failed_row(suite, one.case, error) for one in prepared}
    timed_rows = {}
    for one in prepared:
        row = _row(suite, one, calibration, recompiled.count)
        row = against_ceiling(row, one.work, ceiling)
        timed_rows[one.case] = _checked(one, row)
    return timed_rows


def _row(
    suite: str, one: _PreparedCase, calibration_seconds: list[float], recompilations: int
) -> Row:
    # Work in another process counts its own memory.
    peak_memory = one.work.peak_memory or one.memory.read
    row = rows.measured_row(
        suite, one.case, one.work, one.timed.seconds, one.compiled, peak_memory()
    )
    return dataclasses.replace(
        row, calibration_seconds=calibration_seconds, recompilations=recompilations
    )


def _effort_for(prepared: list[_PreparedCase], effort: Effort) -> Effort:
    """One round where a case of the group is a single call."""
    if any(one.case.single_call for one in prepared):
        return dataclasses.replace(effort, min_rounds=1, max_rounds=1)
    return effort


def _checked(one: _PreparedCase, row: Row) -> Row:
    """The row, or what its check says."""
    try:
        checked = one.work.check(one.timed.carry)
        return dataclasses.replace(row, checked=checked or "")
    except Exception as error:
        failure = rows.failed_row(row.suite, one.case, error)
        return dataclasses.replace(row, status=failure.status, reason=failure.reason)
