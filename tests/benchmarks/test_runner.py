"""What cannot be measured is a row that says why; what can is measured after compilation, and a
slower step is found.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from benchmarks.harness import hardware, roofline, runner, timing
from benchmarks.harness.cases import Case, NotRun, Work, WrongResult, expect_close
from benchmarks.harness.schema import (
    FAILED,
    IMPOSSIBLE,
    NOT_RUN,
    OK,
    OUT_OF_MEMORY,
    WRONG,
    Peaks,
    Row,
    read,
)
from benchmarks.output.compare import SLOWER, compare
from benchmarks.output.tables import suite_table
from tests import workers

ROUNDS = 4
QUICK = runner.Effort(min_rounds=ROUNDS, max_rounds=ROUNDS, seconds_per_case=1)
# Two measurements are compared by the spread of their rounds.
COMPARABLE = runner.Effort(min_rounds=16, max_rounds=16, seconds_per_case=1)
CEILING = Peaks("a device", "a test", 1e15, 1e15, 1e15)


@pytest.fixture(autouse=True)
def ceiling(monkeypatch):
    monkeypatch.setattr(hardware, "peaks", lambda: CEILING)


def case(name: str = "tanh", group: str = "", sleep: float = 0.0, **changes) -> Case:
    step = jax.jit(lambda x: jnp.tanh(x))

    def call(x):
        time.sleep(sleep)
        return step(x)

    def prepare() -> Work:
        work = Work(call, jnp.ones(100), lambda x: expect_close("tanh", x, x, 1e-6), "numbers", 100)
        return dataclasses.replace(work, **changes)

    return Case(name, "p", prepare, group)


def failing(error: BaseException, name: str = "bad") -> Case:
    def prepare() -> Work:
        raise error

    return Case(name, "p", prepare)


def test_rows_of_all_sorts(tmp_path):
    oom = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room")
    oom_of_a_cpu = jax.errors.JaxRuntimeError(
        "INTERNAL: Error dispatching computation: Out of memory allocating 1 bytes."
    )
    cases = [
        case(),
        failing(oom, "oom"),
        failing(oom_of_a_cpu, "oom of a CPU"),
        failing(RuntimeError("x"), "failed"),
        case("wrong", check=lambda x: expect_close("tanh", x, x + 1, 1e-6)),
        case("impossible", flops=1e20),
        failing(NotRun("none built"), "later"),
    ]
    results = runner.run_suite("s", cases, QUICK, tmp_path)
    assert [row.status for row in results.rows] == [
        OK,
        OUT_OF_MEMORY,
        OUT_OF_MEMORY,
        FAILED,
        WRONG,
        IMPOSSIBLE,
        NOT_RUN,
    ]
    assert read(tmp_path / "s.jsonl").rows == results.rows
    row = results.rows[0]
    assert row.compilations
    assert row.recompilations == 0
    assert row.p10 <= row.p50 <= row.p90 <= row.p99
    assert row.peak_memory_bytes is None or row.peak_memory_bytes > 1e6
    assert len(row.seconds) == len(row.calibration_seconds) == ROUNDS
    shown = suite_table(results, price_per_hour=2.0).markdown()
    assert "out of memory" in shown
    assert "not run: none built" in shown
    assert len({line.count("|") for line in shown.splitlines()}) == 1


TOO_LARGE = """
import sys
from pathlib import Path

import numpy as np

from benchmarks.harness import memory, runner
from benchmarks.harness.cases import Case

machine = 1024 * int(Path("/proc/meminfo").read_text().split()[1])
memory.limit_allocations()
cases = [Case("too large", "p", lambda: np.empty(int(0.97 * machine), np.uint8))]
print(runner.run_suite("s", cases, runner.Effort(), Path(sys.argv[1])).rows[0].status)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may map")
def test_what_the_system_would_kill_for_is_a_row(tmp_path):
    assert workers.launch("-c", TOO_LARGE, tmp_path) == [f"{OUT_OF_MEMORY}\n"]


def test_cases_of_one_name_keep_their_own_rows(tmp_path):
    cases = [dataclasses.replace(case(units_per_call=n), preset=str(n)) for n in (1, 2)]
    rows = runner.run_suite("s", cases, QUICK, tmp_path).rows
    assert [(row.preset, row.units_per_call) for row in rows] == [("1", 1), ("2", 2)]


def test_an_interrupt_leaves_what_was_measured(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner.run_suite("s", [case(), failing(KeyboardInterrupt())], QUICK, tmp_path)
    assert [row.case for row in read(tmp_path / "s.jsonl").rows] == ["tanh"]


def test_a_slower_step_is_found(tmp_path, monkeypatch):
    # Other tests load the cores, which a sleep does not feel.
    monkeypatch.setattr(timing, "time_calibration_load", lambda: 1e-3)
    usual = runner.run_suite("a", [case(sleep=0.01)], COMPARABLE, tmp_path)
    slowed = runner.run_suite("b", [case(sleep=0.05)], COMPARABLE, tmp_path)
    assert compare(usual, slowed)[0].verdict == SLOWER


def test_what_compiles_in_the_rounds_is_counted(tmp_path):
    sizes = iter(range(1, 100))

    def call(_):
        return jax.jit(lambda x: x + 1)(jnp.ones(next(sizes)))

    rows = runner.run_suite("s", [case(call=call, check=lambda _: None)], QUICK, tmp_path).rows
    assert rows[0].recompilations >= ROUNDS


def test_seconds_are_those_of_the_work():
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 100, lambda _, y: jnp.tanh(y @ y) / 300, x))
    timed = timing.TimedCase(work, jnp.ones((300, 300)))
    timed.warm_up()
    timing.time_in_turn([timed], 3, 3, 0)
    assert min(timed.seconds) > 100 * 2 * 300**3 / 2e13, "no core computes faster than this"


@pytest.mark.parametrize(
    ("mfu", "memory", "network", "wait", "expected"),
    [
        (0.7, 0.2, None, None, "compute"),
        (0.2, 0.7, 0.1, 0.0, "memory"),
        (0.6, 0.2, 0.8, 0.0, "network"),
        (None, None, 0.8, None, "network"),
        (0.1, 0.1, 0.1, 0.0, "launch"),
        (0.7, 0.2, 0.8, 0.5, "input"),
        (None, None, None, None, "n/a"),
    ],
)
def test_bound_by(mfu, memory, network, wait, expected):
    assert roofline.bound_by(mfu, memory, network, wait) == expected


def test_the_network_has_a_share_where_its_ceiling_is_known():
    work = Work(lambda x: x, 0, lambda _: None, "events", 1, network_bytes=6e8, devices=8)
    row = Row(suite="s", case="c", preset="p", status=OK, p50=1e-3)
    row_of_sheet = roofline.against_ceiling(
        row, work, dataclasses.replace(CEILING, interconnect=450e9)
    )
    assert row_of_sheet.network_share == pytest.approx(6e8 / 1e-3 / 450e9)
    assert row_of_sheet.bound_by == "network"
    assert row_of_sheet.status == OK, (
        "switches that add up are sent less than a ring sends: that is no mistake"
    )
    assert roofline.against_ceiling(row, work, CEILING).bound_by == "n/a"


def test_devices_are_looked_up_and_never_guessed():
    assert hardware.listed("NVIDIA H100 80GB HBM3").bandwidth == 3350e9
    assert hardware.listed("TPU v5 lite").bfloat16 == 197e12
    assert hardware.listed("TPU v5").bfloat16 == 459e12
    assert hardware.listed("NVIDIA H100 80GB HBM3").interconnect == 450e9, "900 GB/s are both ways"
    assert hardware.listed("TPU v5e") == dataclasses.replace(
        hardware.listed("TPU v5 lite"), device="TPU v5e"
    )
    for namesake in (
        "another",
        "NVIDIA L40",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA H200 NVL",
    ):
        assert hardware.listed(namesake) == Peaks(namesake, "n/a: not in the list of data sheets")


def test_a_sheet_has_no_figure_out_of_place():
    for kind in hardware._SHEETS:
        peaks = hardware.listed(kind)
        assert peaks.float32
        assert peaks.bfloat16
        assert peaks.bandwidth
        assert peaks.interconnect
        assert peaks.bfloat16 >= peaks.float32 > peaks.bandwidth > peaks.interconnect > 1e10


def test_not_a_number_is_wrong():
    with pytest.raises(WrongResult):
        expect_close("x", jnp.array([jnp.nan]), jnp.ones(1), 1e-3)


def test_the_last_line_of_smoke_is_json(tmp_path):
    arguments = ("run", "--suite", "smoke", "--seconds", "0.1", "--out", str(tmp_path))
    # A process of its own: the suite limits the memory of its process.
    (output,) = workers.launch("-m", "benchmarks", *arguments)
    last = json.loads(output.splitlines()[-1])
    rows = read(tmp_path / "smoke.jsonl").rows
    assert [row.status for row in rows] == [OK] * len(rows)
    assert len(last["results"]) == len(rows) >= 4
    assert {row.recompilations for row in rows} == {0}
