"""Host work runs beside the devices where they are accelerators, and its errors are not lost."""

from __future__ import annotations

import threading

import pytest

from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.background import Background


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(parallel, "has_accelerator", lambda: True)


@pytest.mark.usefixtures("accelerator")
def test_functions_run_in_their_order_in_another_thread():
    calls, may_end = [], threading.Event()

    def first():
        may_end.wait()
        calls.append("first")
        return threading.current_thread()

    with Background() as background:
        results = [background.submit(first), background.submit(lambda: calls.append("second"))]
        assert not calls, "the caller does not wait"
        may_end.set()
        assert results[0]() is not threading.current_thread()
        assert results[1]() is None
    assert calls == ["first", "second"]


@pytest.mark.usefixtures("accelerator")
def test_an_error_is_raised_where_the_result_is_needed():
    with Background() as background:
        failing = background.submit(lambda: 1 / 0)
        assert background.submit(lambda: 5)() == 5
        with pytest.raises(ZeroDivisionError):
            failing()


def test_on_a_cpu_nothing_runs_before_its_result_is_needed():
    calls = []
    with Background() as background:
        result = background.submit(lambda: calls.append(threading.current_thread()))
        assert not calls
        result()
        result()
    assert calls == [threading.current_thread()]


@pytest.mark.usefixtures("accelerator")
def test_what_only_saves_time_is_done_ahead_and_waited_for():
    calls = []
    with Background() as background:
        wait = background.ahead(lambda: calls.append(threading.current_thread()))
        wait()
        assert calls[0] is not threading.current_thread()
        with pytest.raises(ZeroDivisionError):
            background.ahead(lambda: print(1 / 0))()


def test_on_a_cpu_nothing_is_done_ahead():
    with Background() as background:
        background.ahead(lambda: print(1 / 0))()
