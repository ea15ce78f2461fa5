"""Devices side by side: the ratio, the cost and the shares of each case are those of its rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.harness.schema import NOT_REACHED, Reference, Results, Row, read
from benchmarks.output.hardware_comparison import comparison, device_names
from benchmarks.output.report import page
from tests.benchmarks.test_report import ENVIRONMENT, HARDWARE, MEASURED, RUN

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "cpu-train-beauty.jsonl"
PUBLISHED = Reference("somebody's", 5.0, "TFLOP/s", "a card", "a paper", "at another shape")


def results(device: str, rate: float, started: str = "2026-01-01", **changes: object) -> Results:
    """One case on a made-up device."""
    environment = ENVIRONMENT | {"devices": [device]}
    run = dataclasses.replace(
        RUN, environment=environment, hardware=HARDWARE | {"device": device}, started=started
    )
    row = dataclasses.replace(MEASURED, units_per_second=rate, unit="events", **changes)
    return Results(run, [row])


SLOW = results("synthetic slow device", 100.0)
FAST = results("synthetic fast device", 1000.0, mfu=0.4, bandwidth_share=0.25)


def cells(compared) -> list:
    ((line,),) = compared.suites.values()
    return line.cells


def test_a_ratio_is_of_units_a_second():
    slow, fast = cells(comparison([SLOW, FAST], None, {}))
    assert (slow.ratio, fast.ratio) == ("", "10x")
    assert fast.colour == "faster"
    assert fast.rate == "1k events/s"
    assert fast.details == ["1 s", "MFU 40.0%", "memory 25.0%"]


def test_another_device_may_be_the_reference():
    compared = comparison([SLOW, FAST], "synthetic fast device", {})
    assert [device.name for device in compared.devices] == [
        "synthetic fast device",
        "synthetic slow device",
    ]
    fast, slow = cells(compared)
    assert (fast.ratio, slow.ratio, slow.colour) == ("", "0.1x", "slower")


def test_a_cost_needs_a_price_and_follows_from_it():
    slow, fast = cells(comparison([SLOW, FAST], None, {"FAST": 3.6}))
    # 0.001 a second at a thousand events a second: a millionth each.
    assert "1,000 per billion" in fast.details
    assert not [detail for detail in slow.details if "per billion" in detail]


def test_the_mean_is_geometric_and_over_shared_cases_alone():
    rows = [
        dataclasses.replace(FAST.rows[0], case=name, units_per_second=rate)
        for name, rate in (("a", 400.0), ("b", 100.0), ("only here", 1.0))
    ]
    slow_rows = [dataclasses.replace(SLOW.rows[0], case=name) for name in ("a", "b")]
    fast, slow = Results(FAST.run, rows), Results(SLOW.run, slow_rows)
    device = comparison([slow, fast], None, {}).devices[1]
    assert device.ratio == "2x"
    assert "2 shared cases" in device.summary


def test_the_newest_row_with_figures_counts():
    newer = results("synthetic slow device", 200.0, started="2026-02-01")
    newest = results("synthetic slow device", 0.0, started="2026-03-01")
    unreached = Row(suite="smoke", case="step", preset="tiny", status=NOT_REACHED)
    newest = dataclasses.replace(newest, rows=[unreached])
    (cell,) = cells(comparison([newest, newer, SLOW], None, {}))
    assert cell.rate == "200 events/s"


def test_a_case_without_figures_says_why():
    unreached = Row(suite="smoke", case="step", preset="tiny", status=NOT_REACHED)
    _, cell = cells(comparison([SLOW, dataclasses.replace(FAST, rows=[unreached])], None, {}))
    assert (cell.rate, cell.ratio) == (NOT_REACHED, "")


def test_a_wrong_result_has_no_ratio():
    wrong = results("synthetic fast device", 1000.0, status="wrong")
    _, cell = cells(comparison([SLOW, wrong], None, {}))
    assert cell.ratio == ""
    assert "wrong" in cell.details


def test_published_figures_stand_apart_from_what_was_measured():
    published = results("synthetic fast device", 1000.0, references=[dataclasses.asdict(PUBLISHED)])
    (line,) = comparison([published, SLOW], None, {}).published
    assert line.figure == "5 TFLOP/s"
    assert "a card" in line.origin
    assert "at another shape" in line.name
    # 1e9 FLOPs in one second.
    assert line.measured == ["0.001 TFLOP/s", "0.001 TFLOP/s"]


def test_a_cpu_is_named_by_its_processor_and_several_devices_are_counted():
    cpu = results("cpu", 1.0)
    environment = FAST.run.environment | {"devices": ["card"] * 8}
    eight = Results(dataclasses.replace(FAST.run, environment=environment), FAST.rows)
    assert device_names([cpu, eight]) == ["a <processor>, 2 cores", "8 x card"]


@pytest.mark.parametrize("reference", [None, "synthetic card"])
def test_the_page_begins_with_the_devices(reference):
    """The committed file of a CPU beside the same cases of a made-up device."""
    committed = read(COMMITTED)
    environment = committed.run.environment | {"devices": ["synthetic card"]}
    run = dataclasses.replace(committed.run, environment=environment)
    rows = [
        dataclasses.replace(row, units_per_second=40 * (row.units_per_second or 0))
        for row in committed.rows
    ]
    files = {COMMITTED: committed, Path("synthetic.jsonl"): Results(run, rows)}
    html = page(files, {"synthetic": 2.5}, reference)
    assert html.index("synthetic card") < html.index("Details")
    assert "40x" in html if reference is None else "0.025x" in html
    assert "per billion" in html
