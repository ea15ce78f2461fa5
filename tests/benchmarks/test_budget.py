"""A suite ends when its time is over, and names what it did not reach."""

from __future__ import annotations

import dataclasses
import signal
import time

import pytest

from benchmarks.harness import hardware, runner
from benchmarks.harness.budget import BudgetOver, time_limit
from benchmarks.harness.schema import NOT_REACHED, OK, read
from tests.benchmarks.test_runner import CEILING, QUICK, case, failing


@pytest.fixture(autouse=True)
def ceiling(monkeypatch):
    monkeypatch.setattr(hardware, "peaks", lambda: CEILING)


def test_work_is_interrupted_when_the_time_is_over():
    start = time.perf_counter()
    with pytest.raises(BudgetOver), time_limit(0.2):
        time.sleep(10)
    assert time.perf_counter() - start < 5


def test_nothing_is_interrupted_afterwards():
    handler = signal.getsignal(signal.SIGALRM)
    with time_limit(0.2):
        pass
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_cases_that_are_not_reached_are_rows(tmp_path):
    cases = [case("quick"), failing(BudgetOver(), "slow"), case("later")]
    shown = []
    results = runner.run_suite("s", cases, QUICK, tmp_path, 300, show=shown.append)
    assert [row.status for row in results.rows] == [OK, NOT_REACHED, NOT_REACHED]
    assert [row.case for row in shown] == ["quick"], "a row is shown as soon as it is known"
    assert "300 seconds" in results.rows[1].reason
    assert read(tmp_path / "s.jsonl").rows == results.rows


def test_what_is_prepared_is_closed_when_the_time_is_over(tmp_path):
    closed = []
    ready = case("ready", close=lambda: closed.append(True))
    grouped = [dataclasses.replace(one, group="g") for one in (ready, failing(BudgetOver()))]
    runner.run_suite("s", grouped, QUICK, tmp_path)
    assert closed == [True]


def test_the_time_of_a_suite_is_its_budget(tmp_path):
    start = time.perf_counter()
    (row,) = runner.run_suite("s", [case("slow", sleep=60)], QUICK, tmp_path, 0.5).rows
    assert row.status == NOT_REACHED
    assert time.perf_counter() - start < 30


def test_a_single_call_is_neither_warmed_up_nor_repeated(tmp_path):
    calls = []
    program = case("program", call=lambda x: calls.append(x) or x)
    program = dataclasses.replace(program, single_call=True)
    (row,) = runner.run_suite("s", [program], QUICK, tmp_path).rows
    assert len(calls) == len(row.seconds) == 1
