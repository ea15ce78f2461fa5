"""Rows of a result file: of a case that was measured, and of one that was not."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.harness import statistics
from benchmarks.harness.cases import Case, NotRun, Work, WrongResult
from benchmarks.harness.schema import FAILED, NOT_RUN, OK, OUT_OF_MEMORY, WRONG, Row
from benchmarks.harness.timing import Compilations

# How accelerators report it, and how CPUs do.
_OUT_OF_MEMORY_MESSAGES = ("RESOURCE_EXHAUSTED", "Out of memory")


def measured_row(
    suite: str,
    case: Case,
    work: Work,
    seconds: list[float],
    compiled: Compilations,
    peak_memory_bytes: int | None,
) -> Row:
    """What was measured, neither checked nor compared with a ceiling."""
    return Row(
        suite=suite,
        case=case.name,
        preset=case.preset,
        status=OK,
        unit=work.unit,
        units_per_call=work.units_per_call,
        padding_share=work.padding_share,
        devices=work.devices,
        wait_share=work.wait_share() if work.wait_share else None,
        trace_seconds=compiled.trace_seconds,
        lower_seconds=compiled.lower_seconds,
        compile_seconds=compiled.compile_seconds,
        compilations=compiled.count,
        peak_memory_bytes=peak_memory_bytes,
        flops=work.flops,
        bytes=work.bytes,
        network_bytes=work.network_bytes,
        references=_references(case),
        **_seconds(seconds, work.units_per_call),
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


def failed_row(suite: str, case: Case, error: Exception) -> Row:
    """The row of a case that ended with an exception."""
    status, reason = _status_of(error)
    return row_without_figures(suite, case, status, reason)


def row_without_figures(suite: str, case: Case, status: str, reason: str) -> Row:
    """The row of a case that was not measured."""
    return Row(
        suite=suite,
        case=case.name,
        preset=case.preset,
        status=status,
        reason=reason,
        references=_references(case),
    )


def _references(case: Case) -> list[dict]:
    return [dataclasses.asdict(reference) for reference in case.references]


def _status_of(error: Exception) -> tuple[str, str]:
    """(status, reason) of an exception."""
    if isinstance(error, NotRun):
        return NOT_RUN, str(error)
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    no_memory = any(message in str(error) for message in _OUT_OF_MEMORY_MESSAGES)
    if no_memory or isinstance(error, MemoryError):
        return OUT_OF_MEMORY, reason
    return WRONG if isinstance(error, WrongResult) else FAILED, reason
