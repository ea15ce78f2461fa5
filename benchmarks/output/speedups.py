"""How much faster is each case of a group than the first one, and than the one before it?

The cases were timed in turn, so their rates are compared round by round, under the same load of the
machine.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from benchmarks.harness.schema import OK, Row
from benchmarks.output.tables import UNKNOWN, Table, remark

# Suites whose cases of one preset are ways to do the same, the plainest first.
COMPARED_SUITES = ("ladder", "epoch", "microbenchmarks")


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Of units a second, over the rounds."""

    p10: float
    median: float
    p90: float


@dataclasses.dataclass(frozen=True)
class Speedup:
    """None where a case or the one that it is compared with has no figures."""

    row: Row
    over_first: Ratio | None
    over_previous: Ratio | None


def by_preset(rows: Sequence[Row]) -> dict[str, list[Speedup]]:
    """The speedups of each preset's cases, in their order."""
    # Rows of one preset come one after the other.
    groups = itertools.groupby(rows, key=lambda row: row.preset)
    return {preset: _speedups(list(group)) for preset, group in groups}


def _speedups(rows: list[Row]) -> list[Speedup]:
    speedups = []
    first = previous = rows[0]
    for row in rows:
        speedups.append(Speedup(row, _ratio(row, first), _ratio(row, previous)))
        previous = row
    return speedups


def _ratio(row: Row, other: Row) -> Ratio | None:
    if not row.units_per_call or not other.units_per_call:
        return None
    # Round by round, so that a slow round slows both.
    ratios = _rates(row) / _rates(other)
    p10, median, p90 = np.quantile(ratios, [0.1, 0.5, 0.9])
    return Ratio(float(p10), float(median), float(p90))


def _rates(row: Row) -> np.ndarray:
    """Units a second of each round."""
    assert row.units_per_call is not None
    return row.units_per_call / np.array(row.seconds)


def speedup_table(rows: Sequence[Row]) -> Table:
    """A case a row."""
    header = ("preset", "case", "units/s", "over the first", "p10-p90", "over the one before")
    lines = []
    for preset, speedups in by_preset(rows).items():
        lines += [[preset, *_cells(speedup)] for speedup in speedups]
    return Table([*header, "p10-p90", ""], lines)


def _cells(speedup: Speedup) -> list[str]:
    row = speedup.row
    rate = f"{row.units_per_second:,.0f} {row.unit}" if row.units_per_second else UNKNOWN
    first, previous = _shown(speedup.over_first), _shown(speedup.over_previous)
    return [row.case, rate, *first, *previous, remark(row) or OK]


def _shown(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return UNKNOWN, UNKNOWN
    return f"{ratio.median:.2f}x", f"{ratio.p10:.2f}-{ratio.p90:.2f}"
