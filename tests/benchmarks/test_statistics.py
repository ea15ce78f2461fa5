"""The verdict respects how far a run's own rounds lie apart, and finds what is slower."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.harness import statistics
from benchmarks.harness.schema import NOT_RUN, OK, Results, Row
from benchmarks.output.compare import FASTER, SAME, SLOWER, compare
from tests.benchmarks.test_schema import RUN


def test_mann_whitney_tells_separated_samples_apart_and_seldom_equal_ones():
    rng = np.random.default_rng(0)
    assert statistics.mann_whitney(np.arange(8), np.arange(8, 16)) < 0.01
    p_values = [statistics.mann_whitney(*rng.normal(size=(2, 8))) for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) < 0.08


def test_equal_values_are_no_difference():
    assert statistics.mann_whitney(np.ones(8), np.ones(8)) == 1


def test_interval_holds_the_ratio():
    ratio, low, high = statistics.ratio_interval(np.full(8, 2.0), np.array([2.9, 3.0, 3.1, 3.0]))
    assert ratio == pytest.approx(1.5)
    assert low <= ratio <= high


def results(seed: int, seconds: float = 0.01, drift: float = 0.1, load: float = 1.0) -> Results:
    """A run under some load of the machine, which drifts: each round is like the one before."""
    rng = np.random.default_rng(seed)
    log_load = 0.0
    times, calibration = [], []
    for _ in range(80):
        log_load = 0.9 * log_load + drift * rng.normal()
        slowdown = load * np.exp(log_load)
        times.append(seconds * slowdown * np.exp(0.05 * abs(rng.normal())))
        calibration.append(0.001 * slowdown * np.exp(0.05 * abs(rng.normal())))
    row = Row(
        suite="s",
        case="c",
        preset="p",
        status=OK,
        seconds=times,
        calibration_seconds=calibration,
        p50=seconds,
        compilations=2,
        flops=100.0,
        bytes=10.0,
        peak_memory_bytes=1000,
    )
    return Results(RUN, [row])


def verdict(old: Results, new: Results) -> str:
    return compare(old, new)[0].verdict


def test_the_same_speed_is_no_difference_on_a_machine_whose_load_drifts():
    found = [verdict(results(2 * n), results(2 * n + 1)) for n in range(40)]
    assert found.count(SAME) >= 38


def test_a_machine_that_others_slow_down_is_no_difference():
    found = [verdict(results(2 * n), results(2 * n + 1, load=1.8)) for n in range(20)]
    assert found.count(SAME) >= 18


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_a_slower_and_a_faster_step_are_found(drift):
    for n in range(5):
        old = results(2 * n, drift=drift)
        new = results(2 * n + 1, 0.02, drift=drift)
        assert verdict(old, new) == SLOWER
        assert verdict(new, old) == FASTER


def test_counts_that_grow_are_named_and_times_are_not():
    old, new = results(0, drift=0), results(1, 0.02, drift=0)
    assert compare(old, new)[0].counts == []
    worse = dataclasses.replace(new.rows[0], compilations=3, peak_memory_bytes=2000)
    counts = compare(old, Results(RUN, [worse]))[0].counts
    assert [text.split()[0] for text in counts] == ["compilations", "peak_memory_bytes"]


def test_cases_of_one_run_alone():
    other = Results(RUN, [dataclasses.replace(results(0).rows[0], case="d")])
    assert [v.verdict for v in compare(results(0), other)] == ["only in A", "only in B"]


def test_a_case_that_was_never_ok_is_not_worse():
    row = dataclasses.replace(results(0).rows[0], status=NOT_RUN)
    assert compare(Results(RUN, [row]), Results(RUN, [row]))[0].counts == []
    assert compare(results(0), Results(RUN, [row]))[0].counts == [NOT_RUN]
