"""Tests and intervals say what others say, and the verdict respects how far a run's own rounds lie
apart.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from benchmarks.harness import statistics
from benchmarks.harness.schema import NOT_RUN, OK, Results, Row
from benchmarks.output.compare import FASTER, SAME, SLOWER, compare
from tests.benchmarks.test_schema import RUN


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_mann_whitney_is_that_of_scipy(seed, ties):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, 9), rng.normal(0.7, 1, 13)
    if ties:
        a, b = a.round(), b.round()
    expected = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
    assert statistics.mann_whitney(a, b) == pytest.approx(expected, abs=1e-12)


def test_equal_values_are_no_difference():
    assert statistics.mann_whitney(np.ones(8), np.ones(8)) == 1


def test_interval_holds_the_ratio():
    ratio, low, high = statistics.ratio_interval(np.full(8, 2.0), np.array([2.9, 3.0, 3.1, 3.0]))
    assert ratio == pytest.approx(1.5)
    assert low <= ratio <= high


def results(seed: int, seconds: float = 0.01, noise: float = 0.1, load: float = 1.0) -> Results:
    """A run under some load, whose rounds wander: each is like the one before."""
    rng = np.random.default_rng(seed)
    wander = 0.0
    times, yardsticks = [], []
    for _ in range(80):
        wander = 0.9 * wander + noise * rng.normal()
        slow = load * np.exp(wander)
        times.append(seconds * slow * np.exp(0.05 * abs(rng.normal())))
        yardsticks.append(0.001 * slow * np.exp(0.05 * abs(rng.normal())))
    row = Row(
        suite="s", case="c", preset="p", status=OK, seconds=times, yardstick_seconds=yardsticks, p50=seconds,
        compilations=2, flops=100.0, bytes=10.0, peak_memory_bytes=1000,
    )  # fmt: skip
    return Results(RUN, [row])


def verdict(old: Results, new: Results) -> str:
    return compare(old, new)[0].verdict


def test_the_same_speed_is_no_difference_on_a_noisy_machine():
    found = [verdict(results(2 * n), results(2 * n + 1)) for n in range(40)]
    assert found.count(SAME) >= 38


def test_a_machine_that_others_slow_down_is_no_difference():
    found = [verdict(results(2 * n), results(2 * n + 1, load=1.8)) for n in range(20)]
    assert found.count(SAME) >= 18


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_slower_and_a_faster_step_are_found(noise):
    for n in range(5):
        old, new = (
            results(2 * n, noise=noise),
            results(2 * n + 1, 0.02, noise=noise),
        )
        assert verdict(old, new) == SLOWER
        assert verdict(new, old) == FASTER


def test_counts_that_grow_are_named_and_times_are_not():
    old, new = results(0, noise=0), results(1, 0.02, noise=0)
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
