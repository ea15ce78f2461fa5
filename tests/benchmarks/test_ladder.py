"""Rungs learn the same events, each has all optimisations below it, and what is not built has a row
that says so.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from benchmarks.harness.cases import NotRun
from benchmarks.harness.schema import NOT_RUN, OK, Row
from benchmarks.harness.timing import Clocked
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.output import plots
from benchmarks.output import speedups as gains
from benchmarks.suites import ladder

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
        suite="ladder", case=name, preset="p", status=OK, unit="events", units_per_call=units, seconds=seconds,
        units_per_second=rate,
    )  # fmt: skip


def test_each_rung_adds_one_thing():
    rungs = [dataclasses.asdict(rung) for rung in ladder.rungs().values()]
    for below, above in itertools.pairwise(rungs):
        assert sum(above[name] != below[name] for name in above) == 1


def test_unpacked_rows_learn_what_packed_ones_learn():
    packed = SMALL.batches()
    plain = ladder.padded(packed)
    assert plain.steps_per_epoch == packed.steps_per_epoch

    def learnt(batches) -> np.ndarray:
        parts = [batches.at(step) for step in range(batches.steps_per_epoch)]
        return np.sort(np.concatenate([part.times[part.weights > 0] for part in parts]))

    assert np.array_equal(learnt(plain), learnt(packed))
    batch = plain.at(0)
    assert batch.segments.max() == 1, "one window a row"
    assert np.array_equal(plain.at(plain.steps_per_epoch).items, batch.items), "the next epoch"


def test_a_rung_learns_and_holds_its_reference():
    """The rung that `smoke` compiles too: no program of its own."""
    workload = SEQUENCES["beauty-packed-tiny"]
    work = ladder.step(workload, ladder.rungs()["+ sampled softmax"])
    clocked = Clocked(work.call, work.carry)
    clocked.warm_up()
    work.check(clocked.carry)
    source = workload.batches()
    assert work.units_per_call == source.targets_per_epoch / source.steps_per_epoch, (
        "real events alone"
    )


def test_what_is_not_built_is_a_row():
    for preset in ("beauty-packed-tiny", "beauty-500k-tiny"):
        last = [case for case in ladder.cases(tiny=True) if case.preset == preset][-1]
        with pytest.raises(NotRun, match="none built"):
            last.prepare()


def test_gains_are_of_rounds():
    nothing = Row(suite="ladder", case="d", preset="p", status=NOT_RUN, reason="none built")
    rows = [
        rung("a", [1.0, 2, 3]),
        rung("b", [0.5, 1, 1.5]),
        rung("c", [2.0, 4, 6], units=200),
        nothing,
    ]
    found = gains.ladders(rows)["p"]
    assert [gain.over_first and gain.over_first[1] for gain in found] == pytest.approx(
        [1, 2, 1, None]
    )
    assert [gain.over_last and gain.over_last[1] for gain in found] == pytest.approx(
        [1, 2, 0.5, None]
    )
    assert "not run: none built" in gains.table(rows).splitlines()[-1]
    drawn = plots.ladder("salt", "p", found)
    assert "2.00x" in drawn
    assert "not run" in drawn
