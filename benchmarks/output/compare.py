"""Is B another speed than A? Says "no difference" unless all the evidence agrees.

A difference must show in plain seconds and in seconds over those of the calibration load of the
same run (which removes what other programs did to the machine between the two runs). Both must show
it in the same direction, in all of: the 99% bootstrap interval of the ratio of medians, a
Mann-Whitney test of block medians at 1%, and a size above both 5% and how far the blocks of one run
lie apart.

Counts (compilations, FLOPs, bytes, peak memory) need no statistics: CI fails on them alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.harness import statistics
from benchmarks.harness.schema import OK, Results, Row
from benchmarks.output.tables import UNKNOWN, Table

SAME, SLOWER, FASTER = "no difference", "slower", "faster"
_SMALLEST = 0.05  # of the old seconds: less is nothing to act upon
_SIGNIFICANCE = 0.01
_NORMAL_DEVIATION = 1.4826  # standard deviations of a normal distribution in a median deviation

# A count is worse when it is above this multiple of the old one. The peak of a process varies with
# its allocator.
_LIMITS = {
    "compilations": 1.0,
    "recompilations": 1.0,
    "flops": 1.0,
    "bytes": 1.0,
    "peak_memory_bytes": 1.25,
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    case: str
    preset: str
    verdict: str  # SAME, SLOWER, FASTER, or why there is none
    ratio: float | None = None  # new over old median seconds
    low: float | None = None  # of the 99% bootstrap interval
    high: float | None = None
    p_value: float | None = None  # of the Mann-Whitney test of the plain seconds
    counts: list[str] = dataclasses.field(default_factory=list)  # what grew


def compare(old: Results, new: Results) -> list[Verdict]:
    """A verdict for each case of either run."""
    # Cases of both runs, in the order of the first.
    before, after = old.by_case(), new.by_case()
    return [_verdict(key, before.get(key), after.get(key)) for key in before | after]


def _verdict(key: tuple[str, str], old: Row | None, new: Row | None) -> Verdict:
    if old is None:
        return Verdict(*key, "only in B")
    if new is None:
        return Verdict(*key, "only in A")
    if old.status != OK or new.status != OK:
        # A case that was never ok is not worse.
        counts = [] if new.status in (OK, old.status) else [new.status]
        return Verdict(*key, f"{old.status} -> {new.status}", counts=counts)
    plain = _direction(np.array(old.seconds), np.array(new.seconds))
    calibrated = _direction(_calibrated(old), _calibrated(new))
    # Where they disagree, the machine was another one, not the code.
    verdict = plain if plain == calibrated else SAME
    old_medians, new_medians = _block_medians(old), _block_medians(new)
    interval = statistics.ratio_interval(old_medians, new_medians)
    p_value = statistics.mann_whitney(old_medians, new_medians)
    return Verdict(*key, verdict, *interval, p_value, counts=grown(old, new))


def _block_medians(row: Row) -> np.ndarray:
    return statistics.block_medians(np.array(row.seconds))


def _calibrated(row: Row) -> np.ndarray:
    """Seconds over the median of the calibration load.

    Round by round, the load's own variation would hide a step that became five times as slow.
    """
    return np.array(row.seconds) / np.median(row.calibration_seconds)


def _direction(old: np.ndarray, new: np.ndarray) -> str:
    old, new = statistics.block_medians(old), statistics.block_medians(new)
    ratio, low, high = statistics.ratio_interval(old, new)
    # A difference must be larger than each of these.
    least = max(np.log1p(_SMALLEST), _log_deviation(old), _log_deviation(new))
    is_outside = not low <= 1 <= high
    is_large = abs(np.log(ratio)) >= least
    is_significant = statistics.mann_whitney(old, new) <= _SIGNIFICANCE
    if is_outside and is_large and is_significant:
        return SLOWER if ratio > 1 else FASTER
    return SAME


def _log_deviation(blocks: np.ndarray) -> float:
    """How far the blocks of one run lie from their median, in logarithms: a smaller difference of
    two runs means nothing.
    """
    deviations = np.abs(np.log(blocks / np.median(blocks)))
    return float(np.median(deviations) * _NORMAL_DEVIATION)


def grown(old: Row, new: Row) -> list[str]:
    """The counts of new that are worse than those of old."""
    worse = []
    for name, limit in _LIMITS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and after is not None and after > before * limit:
            worse.append(f"{name} {before:,.0f} -> {after:,.0f}")
    return worse


def verdict_table(verdicts: list[Verdict]) -> Table:
    header = ("case", "preset", "B/A seconds", "99% interval", "verdict", "counts that grew")
    rows = []
    for v in verdicts:
        ratio = UNKNOWN if v.ratio is None else f"{v.ratio:.3f}"
        interval = UNKNOWN if v.ratio is None else f"{v.low:.3f} to {v.high:.3f}"
        counts = ", ".join(v.counts)
        rows.append([v.case, v.preset, ratio, interval, v.verdict, counts])
    return Table(header, rows)
