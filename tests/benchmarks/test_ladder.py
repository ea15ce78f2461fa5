"""Rungs learn the same events, each has all optimisations of the rungs before it, and what is not
built has a row that says so.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from benchmarks.harness.cases import NotRun
from benchmarks.harness.schema import NOT_RUN, OK, Row
from benchmarks.harness.timing import TimedCase
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.output import plots, speedups
from benchmarks.suites import ladder
from benchmarks.work.epoch import single_calls
from benchmarks.work.padded_batches import padded

SMALL = dataclasses.replace(
    SEQUENCES["beauty-packed-tiny"],
    users=60,
    items=200,
    row_length=16,
    rows=4,
    width=16,
    layers=1,
    heads=1,
    negatives=32,
)


def rung(name: str, seconds: list[float], units: float = 100) -> Row:
    rate = units / float(np.median(seconds))
    return Row(
        suite="ladder",
        case=name,
        preset="p",
        status=OK,
        unit="events",
        units_per_call=units,
        seconds=seconds,
        units_per_second=rate,
    )


def test_each_rung_adds_one_thing():
    rungs = [dataclasses.asdict(rung) for rung in ladder.rungs().values()]
    for before, after in itertools.pairwise(rungs):
        assert sum(after[name] != before[name] for name in after) == 1


def test_unpacked_rows_learn_what_packed_ones_learn():
    packed = SMALL.batches()
    plain = padded(packed)
    assert plain.steps_per_epoch == packed.steps_per_epoch

    def target_times(batches) -> np.ndarray:
        parts = [batches.at(step) for step in range(batches.steps_per_epoch)]
        return np.sort(np.concatenate([part.times[part.weights > 0] for part in parts]))

    assert np.array_equal(target_times(plain), target_times(packed))
    batch = plain.at(0)
    assert batch.segments.max() == 1, "one window a row"
    assert np.array_equal(plain.at(plain.steps_per_epoch).items, batch.items), "the next epoch"


def test_a_rung_learns_and_holds_its_reference():
    """The rung that `smoke` compiles too: no program of its own."""
    workload = SEQUENCES["beauty-packed-tiny"]
    work = single_calls(workload, ladder.rungs()["+ sampled softmax"])
    timed = TimedCase(work.call, work.carry)
    timed.warm_up()
    work.check(timed.carry)
    source = workload.batches()
    assert work.units_per_call == source.targets_per_epoch / source.steps_per_epoch, (
        "real events alone"
    )


def test_what_is_not_built_is_a_row():
    for preset in ("beauty-packed-tiny", "beauty-500k-tiny"):
        last = [case for case in ladder.cases(tiny=True) if case.preset == preset][-1]
        with pytest.raises(NotRun, match="none for CPUs"):
            last.prepare()


def test_speedups_are_of_rounds():
    nothing = Row(suite="ladder", case="d", preset="p", status=NOT_RUN, reason="none built")
    rows = [
        rung("a", [1.0, 2, 3]),
        rung("b", [0.5, 1, 1.5]),
        rung("c", [2.0, 4, 6], units=200),
        nothing,
    ]
    rungs = speedups.by_preset(rows)["p"]
    over_first = [rung.over_first and rung.over_first.median for rung in rungs]
    over_previous = [rung.over_previous and rung.over_previous.median for rung in rungs]
    assert over_first == pytest.approx([1, 2, 1, None])
    assert over_previous == pytest.approx([1, 2, 0.5, None])
    assert "not run: none built" in speedups.speedup_table(rows).markdown().splitlines()[-1]
    drawn = plots.speedup_bars("salt", "p", rungs)
    assert "2.00x" in drawn
    assert "not run" in drawn
