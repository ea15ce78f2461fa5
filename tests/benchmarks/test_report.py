"""The page shows what was measured and what was not, and asks the network for nothing."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.harness.schema import OUT_OF_MEMORY, Results, Row
from benchmarks.output.report import page
from tests.benchmarks.test_schema import ROW, RUN

ENVIRONMENT = {"devices": ["cpu"], "cpu": "a <processor>", "cores": 2, "versions": {"jax": "0"}}
HARDWARE = {
    "device": "cpu",
    "source": "measured",
    "float32": 1e11,
    "bfloat16": 1e11,
    "bandwidth": 1e10,
}
MEASURED = dataclasses.replace(
    ROW, p10=0.9, p50=1.0, p90=1.2, p99=1.3, units_per_second=10.0, flops=1e9, bytes=1e8
)


@pytest.fixture
def results():
    rows = [dataclasses.replace(MEASURED, case=f"strong {n}", devices=n) for n in (1, 2)]
    rows += [
        MEASURED,
        Row(suite="s", case="huge", preset="p", status=OUT_OF_MEMORY, reason="no room"),
    ]
    return Results(dataclasses.replace(RUN, environment=ENVIRONMENT, hardware=HARDWARE), rows)


def test_page(tmp_path, results):
    files = {tmp_path / "a" / "x.jsonl": results, tmp_path / "b" / "x.jsonl": results}
    html = page(files)
    assert html.count("<svg") == 2 * 3, "latency, scaling and roofline of each file"
    assert "out of memory" in html
    assert "a &lt;processor&gt;" in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_names_of_cases_are_text(tmp_path, results):
    named = [dataclasses.replace(row, case="<b>bold</b>") for row in results.rows]
    html = page({tmp_path / "x.jsonl": dataclasses.replace(results, rows=named)})
    assert "<b>bold</b>" not in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html


def test_a_ladder_has_its_bars_and_speedups(tmp_path, results):
    rungs = [
        dataclasses.replace(MEASURED, case=name, units_per_call=10.0, seconds=[seconds])
        for name, seconds in (("plain", 2.0), ("+ packing", 1.0))
    ]
    ladder = Results(dataclasses.replace(results.run, suite="ladder"), rungs)
    html = page({tmp_path / "x.jsonl": ladder})
    assert html.count("<svg") == 2, "speedups and roofline"
    assert "<td>2.00x</td>" in html


def test_a_device_without_ceiling_has_no_roofline(tmp_path, results):
    without_ceiling = {**HARDWARE, "float32": None, "bandwidth": None}
    run = dataclasses.replace(results.run, hardware=without_ceiling)
    html = page({tmp_path / "x.jsonl": dataclasses.replace(results, run=run)})
    assert html.count("<svg") == 2
