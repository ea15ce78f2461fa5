"""A suite's rows for people."""

from __future__ import annotations

from benchmarks.harness.schema import NOT_RUN, OK, Results, Row


def table(results: Results, price_per_hour: float | None = None) -> str:
    """For people. price_per_hour of all devices together gives the cost of a million units."""
    head = ["case", "preset", "p50 ms", "p10-p90", "units/s", "padding", "MFU", "memory", "network"]
    head += [
        "bound by",
        "compile s",
        "peak MB",
        *(["cost/1M"] if price_per_hour is not None else []),
        "",
    ]
    lines = [head, ["---"] * len(head)]
    lines += [_cells(row, price_per_hour) for row in results.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row, price_per_hour: float | None) -> list[str]:
    remark = {OK: "noisy" * row.noisy, NOT_RUN: f"{NOT_RUN}: {row.reason}"}.get(
        row.status, row.status
    )
    if row.p50 is None or row.p10 is None or row.p90 is None or row.units_per_second is None:
        return [row.case, row.preset, *["n/a"] * (9 + 1 + (price_per_hour is not None)), remark]
    cost = [] if price_per_hour is None else [f"{cost_of_million(row, price_per_hour):.4g}"]
    return [
        row.case,
        row.preset,
        f"{row.p50 * 1e3:,.2f}",
        f"{row.p10 * 1e3:,.2f}-{row.p90 * 1e3:,.2f}",
        f"{row.units_per_second:,.0f} {row.unit}",
        *(
            share(value)
            for value in (row.padding_share, row.mfu, row.bandwidth_share, row.network_share)
        ),
        row.bound_by,
        f"{(row.trace_seconds or 0) + (row.lower_seconds or 0) + (row.compile_seconds or 0):.1f}",
        f"{row.peak_memory_bytes / 1e6:,.0f}" if row.peak_memory_bytes else "n/a",
        *cost,
        remark,
    ]


def cost_of_million(row: Row, price_per_hour: float) -> float:
    """In the price's currency."""
    return price_per_hour / 3600 / (row.units_per_second or 1) * 1e6


def share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"
