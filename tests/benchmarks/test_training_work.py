"""Work that trains: what is timed learns what it says, and the two ways of a piece agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.harness.cases import Work, WrongResult
from benchmarks.harness.timing import TimedCase
from benchmarks.harness.workloads import CATALOGUES, SEQUENCES
from benchmarks.suites import epoch, microbenchmarks
from benchmarks.work import loader, updates
from benchmarks.work.epoch import Optimisations, single_calls, stretches

SMALL = SEQUENCES["small-step-tiny"]


def run_and_check(work: Work) -> None:
    """As the runner does."""
    timed = TimedCase(work.call, work.carry)
    timed.warm_up()
    work.check(timed.carry)
    work.close()


# Where batches lie does not depend on the steps a call, so the first and last of four have all.
@pytest.mark.parametrize("way", list(epoch._WAYS)[::3])
def test_a_way_of_an_epoch_makes_its_steps(way):
    optimisations = epoch._WAYS[way]
    work = stretches(SMALL, optimisations, num_steps=16)
    run_and_check(work)
    batches = SMALL.batches()
    assert work.units_per_call == 16 * batches.targets_per_epoch / batches.steps_per_epoch


def test_a_stretch_with_too_few_steps_is_wrong():
    work = stretches(SMALL, Optimisations(packed=True, sampled=True), num_steps=4)
    state, num_stretches, losses = work.call(work.carry)
    with pytest.raises(WrongResult, match="steps"):
        work.check((state.replace(step=state.step - 1), num_stretches, losses))


def test_a_table_by_rows_learns_with_several_steps_a_call():
    """The case of the largest catalogue, on a small one."""
    workload = dataclasses.replace(SMALL, name="small")
    optimisations = Optimisations(packed=True, sampled=True, steps_per_call=4, tables=("items",))
    run_and_check(single_calls(workload, optimisations))


@pytest.mark.parametrize("update", [updates.whole_table, updates.rows_alone])
def test_the_first_update_of_a_table_is_its_formula(update):
    run_and_check(update("catalogue-10k-tiny"))
    assert CATALOGUES["catalogue-10k-tiny"].ids == 1024


@pytest.mark.parametrize("make", [loader.batches_alone, loader.indices_alone])
def test_a_loader_gives_every_event_of_an_epoch(make):
    run_and_check(make("beauty-packed-tiny"))


@pytest.mark.parametrize("case", microbenchmarks.cases(tiny=True), ids=lambda case: case.name)
def test_both_ways_of_a_piece_agree(case):
    run_and_check(case.prepare())


def test_a_piece_that_computes_something_else_is_wrong():
    """The check would find a way that is not the reference's."""
    first, second = (case.prepare() for case in microbenchmarks.cases(tiny=True)[:2])
    assert first.units_per_call == second.units_per_call
    with pytest.raises(WrongResult):
        first.check((None, np.float32(np.nan)))
