"""The suite for one accelerator: its cases run on a CPU, tiny, and equal their references."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness import workloads
from benchmarks.harness.cases import NotRun, Work, WrongResult
from benchmarks.harness.timing import TimedCase
from benchmarks.harness.workloads import SEQUENCES, TABLES, TEXTS
from benchmarks.suites import accelerator
from benchmarks.work import attention, start_to_end, transformer, updates
from socialrec_jax.runtime import parallel

CASES = accelerator.cases(tiny=True)
# The models and the search have tests of their own, and whole programs take minutes.
QUICK = [case for case in CASES if case.name.startswith(("attention", "embedding"))]


def checked(work: Work) -> str | None:
    """What the check says, as the runner calls it."""
    timed = TimedCase(work.call, work.carry)
    timed.warm_up()
    return work.check(timed.carry)


@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.name} {case.preset}")
def test_a_case_runs_and_equals_its_reference(case):
    work = case.prepare()
    assert "from the reference" in (checked(work) or "")
    assert work.bytes


def test_attention_across_windows_is_wrong(monkeypatch):
    def of_whole_rows(query, key, value, segments):
        return attention._textbook(query, key, value, jnp.ones_like(segments))

    work = attention.attention("128x200x1x64-f32-tiny", gradients=False)
    monkeypatch.setattr(attention, "attend", of_whole_rows)
    with pytest.raises(WrongResult):
        work.check(None)


def test_windows_fill_about_half_of_the_causal_pairs():
    """The published and measured figures are of such rows."""
    from benchmarks.harness.flops import causal_pairs

    segments = attention._random_segments(np.random.default_rng(0), 64, 512)
    share = causal_pairs(segments) / (64 * 512 * 513 / 2)
    assert 0.4 < share < 0.65


@pytest.mark.parametrize("name", ["dlrmv4-mini", "sasrec-ml1m", "beauty-packed"])
def test_a_reduced_shape_keeps_what_chooses_the_kernels(name):
    full = SEQUENCES[name]
    few = workloads.reduced(full)
    for field in ("width", "heads", "row_length", "dtype"):
        assert getattr(few, field) == getattr(full, field)
    assert few.layers == 1
    assert few.rows <= full.rows


def test_rows_of_a_reduced_shape_can_be_split_over_the_devices():
    assert workloads.reduced(SEQUENCES["dlrmv4-mini"], 8).rows == 8
    assert workloads.reduced(TEXTS["gpt2-small"], 8).rows == 8


def test_a_small_workload_is_its_own_reference():
    for workload in (*SEQUENCES.values(), *TEXTS.values()):
        if workload.name.endswith(workloads.TINY):
            assert workloads.reduced(workload) is workload


def test_a_large_case_is_compared_at_the_reduced_shape(monkeypatch):
    """Its own loss has no reference; that of the reduced one must be right."""
    large = SEQUENCES["beauty-packed"]
    narrow = dataclasses.replace(large, users=500, items=1000, width=16, heads=1)
    monkeypatch.setitem(SEQUENCES, "beauty-packed", narrow)
    work = transformer.behavior("beauty-packed")
    carry = work.call(work.carry)
    assert "at 4 x 64, 1 layer" in (work.check(carry) or "")

    monkeypatch.setattr(transformer, "_reference_loss", lambda *_: jnp.float32(1e6))
    with pytest.raises(WrongResult):
        work.check(carry)


def test_a_table_is_cut_to_what_the_memory_holds(monkeypatch):
    table = TABLES["rows-16.8m"]
    monkeypatch.setattr(parallel, "memory_for_data", lambda: 20 << 30)
    assert updates.fitting(table) == table
    monkeypatch.setattr(parallel, "memory_for_data", lambda: 1 << 30)
    smaller = updates.fitting(table)
    assert 4 * (smaller.width + 1) * smaller.items <= parallel.num_devices() * 2 << 30
    assert smaller.name != table.name, "another size is another preset"


def test_a_warm_run_without_the_cold_one_is_not_run(tmp_path):
    start_to_end._working_folder.cache_clear()
    with pytest.raises(NotRun):
        start_to_end.train(tmp_path, tiny=True, is_warm=True)


def test_a_program_that_fails_says_why(tmp_path, monkeypatch):
    start_to_end._working_folder.cache_clear()
    script = tmp_path / "failing.py"
    script.write_text("import sys\nsys.exit('there is no such folder')\n")
    monkeypatch.setattr(start_to_end, "PROGRAM", script)
    work = start_to_end.train(tmp_path / "no such folder", tiny=True, is_warm=False)
    with pytest.raises(RuntimeError, match="there is no such folder"):
        work.call(None)
    with pytest.raises(WrongResult):
        work.check(None)


def test_published_figures_are_named_and_no_measurement():
    assert not any(case.references for case in CASES), "a twin for CPUs is another size"
    full_size = accelerator.cases(tiny=False)
    references = [reference for case in full_size for reference in case.references]
    assert references
    for reference in references:
        assert reference.hardware
        assert reference.source
        assert reference.figure > 0
