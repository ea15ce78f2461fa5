"""The page shows what was measured and what was not, asks the network for nothing, and a mistake is
one line.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from benchmarks import report
from benchmarks.schema import OUT_OF_MEMORY, Results, Row
from tests.benchmarks.test_schema import ROW, RUN
from tests.workers import TIMEOUT

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
    report.write(tmp_path / "out" / "page.html", files, price_per_hour=3.6)
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<svg") == 2 * 3, "latency, scaling and roofline of each file"
    assert "Side by side" in page
    assert "out of memory" in page
    assert "<td>100</td>" in page, "3.6 an hour at ten units a second"
    assert "a &lt;processor&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_files_that_share_no_case_have_no_table_of_shared_ones(tmp_path, results):
    parts = {
        tmp_path / f"{n}.jsonl": dataclasses.replace(results, rows=results.rows[n : n + 1])
        for n in (0, 1)
    }
    report.write(tmp_path / "page.html", parts)
    assert "Side by side" not in (tmp_path / "page.html").read_text()


def test_a_ladder_has_its_bars_and_gains(tmp_path, results):
    rungs = [
        dataclasses.replace(MEASURED, case=name, units_per_call=10.0, seconds=[seconds])
        for name, seconds in (("plain", 2.0), ("+ packing", 1.0))
    ]
    climbed = Results(dataclasses.replace(results.run, suite="ladder"), rungs)
    report.write(tmp_path / "page.html", {tmp_path / "x.jsonl": climbed})
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2, "ladder and roofline"
    assert "<td>2.00x</td>" in page


def test_a_device_without_ceiling_has_no_roofline(tmp_path, results):
    unknown = dataclasses.replace(
        results.run, hardware={**HARDWARE, "float32": None, "bandwidth": None}
    )
    report.write(
        tmp_path / "page.html", {tmp_path / "x.jsonl": dataclasses.replace(results, run=unknown)}
    )
    assert (tmp_path / "page.html").read_text().count("<svg") == 2


def test_a_missing_file_is_one_line(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "compare",
        str(tmp_path / "a"),
        str(tmp_path / "b"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 66
    assert len(done.stderr.splitlines()) == 1
