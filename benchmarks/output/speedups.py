"""How much faster is each rung of a ladder than its foot, and than the rung before it?

Rungs are timed in turn, so their rates are compared round by round, under the same load.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from benchmarks.harness.schema import NOT_RUN, Row


@dataclasses.dataclass(frozen=True)
class Gain:
    """Ratios of units a second over the rounds: (p10, median, p90); None where a rung or its foot
    has no figures.
    """

    row: Row
    over_first: tuple[float, float, float] | None
    over_last: tuple[float, float, float] | None


def ladders(rows: Sequence[Row]) -> dict[str, list[Gain]]:
    """Each preset's rungs from the foot."""
    grouped = itertools.groupby(rows, key=lambda row: row.preset)
    return {preset: _gains(list(rungs)) for preset, rungs in grouped}


def _gains(rungs: list[Row]) -> list[Gain]:
    return [
        Gain(row, _ratio(row, rungs[0]), _ratio(row, last))
        for row, last in zip(rungs, [rungs[0], *rungs[:-1]], strict=True)
    ]


def _ratio(row: Row, other: Row) -> tuple[float, float, float] | None:
    if not row.units_per_call or not other.units_per_call:
        return None
    low, median, high = np.quantile(_rates(row) / _rates(other), [0.1, 0.5, 0.9])
    return float(low), float(median), float(high)


def _rates(row: Row) -> np.ndarray:
    """Units a second of each round."""
    assert row.units_per_call is not None
    return row.units_per_call / np.array(row.seconds)


def table(rows: Sequence[Row]) -> str:
    """For people: a rung a line."""
    head = [
        "preset",
        "rung",
        "units/s",
        "over the foot",
        "p10-p90",
        "over the last rung",
        "p10-p90",
        "",
    ]
    lines = [head, ["---"] * len(head)]
    for preset, gains in ladders(rows).items():
        lines += [[preset, gain.row.case, *_cells(gain)] for gain in gains]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(gain: Gain) -> list[str]:
    row, rate = gain.row, gain.row.units_per_second
    remark = f"{row.status}: {row.reason}" if row.status == NOT_RUN else row.status
    shown = [cell for ratio in (gain.over_first, gain.over_last) for cell in _shown(ratio)]
    return [f"{rate:,.0f} {row.unit}" if rate else "n/a", *shown, remark]


def _shown(ratio: tuple[float, float, float] | None) -> tuple[str, str]:
    if ratio is None:
        return "n/a", "n/a"
    low, median, high = ratio
    return f"{median:.2f}x", f"{low:.2f}-{high:.2f}"
