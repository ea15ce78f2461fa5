"""Results as tables for people: rows of text, which become Markdown in a terminal and HTML on a
page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.harness.schema import NOT_RUN, OK, Results, Row

UNKNOWN = "n/a"
# Units and meanings are in docs/benchmarks.md.
_HEADER = (
    "case",
    "preset",
    "p50 ms",
    "p10-p90",
    "units/s",
    "padding",
    "MFU",
    "memory",
    "network",
    "bound by",
    "compile s",
    "peak MB",
)


@dataclasses.dataclass(frozen=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def suite_table(results: Results, price_per_hour: float | None = None) -> Table:
    """A case a row. price_per_hour of all devices together gives the cost of a million units."""
    cost = [] if price_per_hour is None else ["cost/1M"]
    rows = [_suite_row(row, price_per_hour) for row in results.rows]
    # The last column is a remark: what is not ok.
    return Table([*_HEADER, *cost, ""], rows)


def _suite_row(row: Row, price_per_hour: float | None) -> list[str]:
    cells = _measured(row) if row.p50 else [UNKNOWN] * (len(_HEADER) - 2)
    if price_per_hour is not None:
        cells.append(_cost_of_million(row, price_per_hour))
    return [row.case, row.preset, *cells, remark(row)]


def _measured(row: Row) -> list[str]:
    """The cells between the preset and the cost."""
    return [
        milliseconds(row.p50),
        f"{milliseconds(row.p10)}-{milliseconds(row.p90)}",
        f"{row.units_per_second or 0:,.0f} {row.unit}",
        share(row.padding_share),
        share(row.mfu),
        share(row.bandwidth_share),
        share(row.network_share),
        row.bound_by,
        f"{compile_seconds(row):.1f}",
        f"{row.peak_memory_bytes / 1e6:,.0f}" if row.peak_memory_bytes else UNKNOWN,
    ]


def compile_seconds(row: Row) -> float:
    """All that comes before the first call is compilation for whoever waits."""
    parts = (row.trace_seconds, row.lower_seconds, row.compile_seconds)
    return sum(seconds or 0 for seconds in parts)


def row_line(row: Row) -> str:
    """A line about one row, for those who wait."""
    name = f"{row.case} [{row.preset}]"
    if row.p50 is None:
        return f"{name}: {row.status}, {row.reason}"
    parts = [f"{milliseconds(row.p50)} ms", f"{row.units_per_second or 0:,.0f} {row.unit}/s"]
    if row.mfu is not None:
        parts.append(f"MFU {share(row.mfu)}")
    if row.bandwidth_share is not None:
        parts.append(f"{share(row.bandwidth_share)} of the bandwidth")
    parts.append(f"compiled in {compile_seconds(row):.1f} s")
    if row.status != OK:
        parts.append(f"{row.status}: {row.reason}")
    return f"{name}: {', '.join(parts)}"


def remark(row: Row) -> str:
    """What is not ok with a row."""
    if row.status == OK:
        return "noisy" if row.noisy else ""
    return f"{NOT_RUN}: {row.reason}" if row.status == NOT_RUN else row.status


def _cost_of_million(row: Row, price_per_hour: float) -> str:
    """Of units, in the price's currency."""
    if not row.units_per_second:
        return UNKNOWN
    return f"{price_per_hour / 3600 / row.units_per_second * 1e6:.4g}"


def milliseconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds * 1e3:,.2f}"


def share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"
