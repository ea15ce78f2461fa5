"""What cannot be measured is a row that says why; what can is measured after compilation, and slowness is found."""

from __future__ import annotations

import dataclasses
import json
import time

import jax
import jax.numpy as jnp
import pytest

from benchmarks import hardware, runner, timing
from benchmarks.cases import Case, Work, expect_close
from benchmarks.compare import SLOWER, compare
from benchmarks.hardware import Peaks
from benchmarks.schema import FAILED, IMPOSSIBLE, OK, OUT_OF_MEMORY, WRONG, read

QUICK = runner.Effort(min_rounds=16, max_rounds=16, seconds_per_case=1)
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
    oom = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
    cases = [
        case(),
        failing(oom, "oom"),
        failing(RuntimeError("x"), "failed"),
        case("wrong", check=lambda x: expect_close("tanh", x, x + 1, 1e-6)),
        case("impossible", flops=1e20),
    ]
    results = runner.run_suite("s", cases, QUICK, tmp_path)
    assert [row.status for row in results.rows] == [OK, OUT_OF_MEMORY, FAILED, WRONG, IMPOSSIBLE]
    assert read(tmp_path / "s.jsonl").rows == results.rows
    row = results.rows[0]
    assert row.compilations
    assert row.recompilations == 0
    assert row.p10 <= row.p50 <= row.p90 <= row.p99
    assert row.peak_memory_bytes is None or row.peak_memory_bytes > 1e6
    assert len(row.seconds) == len(row.yardstick_seconds) == 16
    assert "out of memory" in runner.table(results, price_per_hour=2.0)


def test_an_interrupt_leaves_what_was_measured(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner.run_suite("s", [case(), failing(KeyboardInterrupt())], QUICK, tmp_path)
    assert [row.case for row in read(tmp_path / "s.jsonl").rows] == ["tanh"]


def test_a_slowed_step_is_found(tmp_path):
    usual = runner.run_suite("a", [case(sleep=0.01)], QUICK, tmp_path)
    slowed = runner.run_suite("b", [case(sleep=0.05)], QUICK, tmp_path)
    assert compare(usual, slowed)[0].verdict == SLOWER


def test_what_compiles_in_the_rounds_is_counted(tmp_path):
    sizes = iter(range(1, 100))

    def call(_):
        return jax.jit(lambda x: x + 1)(jnp.ones(next(sizes)))

    rows = runner.run_suite("s", [case(call=call, check=lambda _: None)], QUICK, tmp_path).rows
    assert rows[0].recompilations >= 16


def test_seconds_are_those_of_the_work():
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 300, lambda _, y: jnp.tanh(y @ y) / 300, x))
    clocked = timing.Clocked(work, jnp.ones((300, 300)))
    clocked.warm_up()
    timing.rounds([clocked], 3, 3, 0)
    assert min(clocked.seconds) > 300 * 2 * 300**3 / 2e13, "no core computes faster than this"


@pytest.mark.parametrize(
    ("mfu", "memory", "wait", "expected"),
    [
        (0.7, 0.2, None, "compute"),
        (0.2, 0.7, 0.0, "memory"),
        (0.1, 0.1, 0.0, "launch"),
        (0.7, 0.2, 0.5, "input"),
        (None, None, None, "n/a"),
    ],
)
def test_bound_by(mfu, memory, wait, expected):
    assert runner.bound_by(mfu, memory, wait) == expected


def test_devices_are_looked_up_and_never_guessed():
    assert hardware.listed("NVIDIA H100 80GB HBM3").bandwidth == 3350e9
    assert hardware.listed("TPU v5 lite").bfloat16 == 197e12
    assert hardware.listed("TPU v5").bfloat16 == 459e12
    assert hardware.listed("another").float32 is None


def test_not_a_number_is_wrong():
    from benchmarks.cases import Wrong

    with pytest.raises(Wrong):
        expect_close("x", jnp.array([jnp.nan]), jnp.ones(1), 1e-3)


def test_the_last_line_of_smoke_is_json(tmp_path):
    import subprocess
    import sys

    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "run",
        "--suite",
        "smoke",
        "--seconds",
        "0.1",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    last = json.loads(done.stdout.splitlines()[-1])
    rows = read(tmp_path / "smoke.jsonl").rows
    assert [row.status for row in rows] == [OK] * len(rows)
    assert len(last["results"]) == len(rows) >= 4
    assert {row.recompilations for row in rows} == {0}
