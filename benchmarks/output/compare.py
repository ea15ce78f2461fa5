"""Is B another speed than A? Says "no difference" unless everything speaks for one.

A difference must show in plain seconds and in seconds over the yardstick's of the same run (which
takes out what other programs did to the machine between the two runs), in the same direction, in
all of: the 99% bootstrap interval of the ratio of medians, a Mann-Whitney test of block medians at
1%, and a size above both 5% and how far the blocks of one run lie apart. Counts (compilations,
FLOPs, bytes, peak memory) need no statistics: CI gates on them alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.harness import statistics
from benchmarks.harness.schema import OK, Results, Row

SAME, SLOWER, FASTER = "no difference", "slower", "faster"
_SMALLEST = 0.05  # of the old seconds: less is nothing to act upon
_CHANCE = 0.01
_MEMORY_ROOM = 1.25  # the peak of a process varies with its allocator


@dataclasses.dataclass(frozen=True)
class Verdict:
    case: str
    preset: str
    verdict: str  # SAME, SLOWER, FASTER, or why there is none
    ratio: float | None = None  # new over old median seconds
    low: float | None = None  # 99% bootstrap interval
    high: float | None = None
    chance: float | None = None  # Mann-Whitney's p of the plain seconds
    counts: list[str] = dataclasses.field(default_factory=list)  # what grew


def compare(old: Results, new: Results) -> list[Verdict]:
    """A verdict for each case of either run."""
    before, after = old.by_case(), new.by_case()
    return [_verdict(key, before.get(key), after.get(key)) for key in before | after]


def _verdict(key: tuple[str, str], old: Row | None, new: Row | None) -> Verdict:
    if old is None or new is None:
        return Verdict(*key, f"only in {'B' if old is None else 'A'}")
    if OK not in (old.status, new.status) or old.status != new.status:
        return Verdict(
            *key,
            f"{old.status} -> {new.status}",
            counts=[] if new.status in (OK, old.status) else [new.status],
        )
    plain = _direction(np.array(old.seconds), np.array(new.seconds))
    steady = _direction(_over_yardstick(old), _over_yardstick(new))
    verdict = plain if plain == steady else SAME
    olds, news = (statistics.block_medians(np.array(row.seconds)) for row in (old, new))
    interval, chance = statistics.ratio_interval(olds, news), statistics.mann_whitney(olds, news)
    return Verdict(*key, verdict, *interval, chance, counts=grown(old, new))


def _over_yardstick(row: Row) -> np.ndarray:
    """Round by round the yardstick's own noise would hide a step that got five times as slow: its
    median stands.
    """
    return np.array(row.seconds) / np.median(row.yardstick_seconds)


def _direction(old: np.ndarray, new: np.ndarray) -> str:
    olds, news = statistics.block_medians(old), statistics.block_medians(new)
    ratio, low, high = statistics.ratio_interval(olds, news)
    least = max(np.log1p(_SMALLEST), *(_apart(blocks) for blocks in (olds, news)))
    if (
        low <= 1 <= high
        or abs(np.log(ratio)) < least
        or statistics.mann_whitney(olds, news) > _CHANCE
    ):
        return SAME
    return SLOWER if ratio > 1 else FASTER


def _apart(blocks: np.ndarray) -> float:
    """How far the blocks of one run lie from their median, in logarithms: what a run cannot tell
    from nothing.
    """
    return float(np.median(np.abs(np.log(blocks / np.median(blocks)))) * 1.4826)


def grown(old: Row, new: Row) -> list[str]:
    """The counts of new that are worse than those of old."""
    limits = {
        "compilations": 1.0,
        "recompilations": 1.0,
        "flops": 1.0,
        "bytes": 1.0,
        "peak_memory_bytes": _MEMORY_ROOM,
    }
    pairs = {name: (getattr(old, name), getattr(new, name), room) for name, room in limits.items()}
    return [
        f"{name} {was:,.0f} -> {now:,.0f}"
        for name, (was, now, room) in pairs.items()
        if was is not None and now is not None and now > was * room
    ]


def table(verdicts: list[Verdict]) -> str:
    lines = [
        "| case | preset | B/A seconds | 99% interval | verdict | counts that grew |",
        "|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        shown = (
            ["n/a", "n/a"]
            if v.ratio is None
            else [f"{v.ratio:.3f}", f"{v.low:.3f} to {v.high:.3f}"]
        )
        lines.append(
            "| " + " | ".join([v.case, v.preset, *shown, v.verdict, ", ".join(v.counts)]) + " |"
        )
    return "\n".join(lines)
