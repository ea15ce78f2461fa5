"""A timeline counts every second once, and a resumed run adds to it."""

from __future__ import annotations

import json
import time

import jax
import pytest

from socialrec_jax.runtime.timeline import START, Timeline

COMPILE = "/jax/core/compile/backend_compile_duration"
TRACE = "/jax/core/compile/jaxpr_trace_duration"


@pytest.fixture
def timeline():
    return Timeline()


def stages(timeline: Timeline) -> dict[str, dict]:
    return {row["stage"]: row for row in timeline.to_json()["stages"]}


def test_time_belongs_to_the_innermost_stage(timeline):
    began = time.perf_counter()
    with timeline.stage("outer"):
        time.sleep(0.02)
        with timeline.stage("inner"):
            time.sleep(0.05)
    seconds = {name: row["seconds"] for name, row in stages(timeline).items()}
    assert list(seconds) == [START, "outer", "inner"]
    assert 0.02 <= seconds["outer"] < 0.05 <= seconds["inner"]
    assert sum(seconds.values()) == pytest.approx(time.perf_counter() - began, abs=0.02)


def test_a_stage_that_fails_keeps_its_time(timeline):
    @timeline.stage("failing")
    def fail():
        time.sleep(0.01)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert stages(timeline)["failing"]["seconds"] >= 0.01


def test_spans_inside_a_span_count_once(timeline):
    """JAX reports the tracing of a function with that of the functions it calls."""
    with timeline.stage("text"):
        timeline.on_span(TRACE, 1.0, 2.0)
        timeline.on_span(TRACE, 3.0, 3.5)
        timeline.on_span(TRACE, 0.5, 4.0)
        timeline.on_span(COMPILE, 4.0, 6.0)
        timeline.on_span("/jax/something/else", 0.0, 100.0)
    row = stages(timeline)["text"]
    assert row["compile_seconds"] == pytest.approx(5.5)
    assert (row["programs"], row["compiled"]) == (1, 1)


def test_a_program_from_the_cache_is_not_compiled(timeline):
    timeline.on_event("/jax/compilation_cache/cache_hits")
    timeline.on_span(COMPILE, 0.0, 1.0)
    assert (stages(timeline)[START]["programs"], stages(timeline)[START]["compiled"]) == (1, 0)


def test_parts_add_up_to_the_clock(timeline):
    with timeline.stage("ranker"):
        with timeline.waiting():
            time.sleep(0.02)
        time.sleep(0.01)
    row = stages(timeline)["ranker"]
    parts = row["host_seconds"] + row["compile_seconds"] + row["device_seconds"]
    assert parts == pytest.approx(row["seconds"], abs=2e-3)
    assert row["device_seconds"] >= 0.02


def test_a_resumed_run_adds_to_its_timeline(timeline, tmp_path):
    file = tmp_path / "timeline.json"
    timeline.begin(file)
    with timeline.stage("text"):
        time.sleep(0.01)
    earlier = stages(timeline)["text"]["seconds"]

    resumed = Timeline()
    resumed.begin(file)
    with resumed.stage("text"):
        time.sleep(0.01)
    assert resumed.to_json()["processes"] == 2
    # Rounded to milliseconds.
    assert stages(resumed)["text"]["seconds"] >= earlier + 0.009
    assert json.loads(file.read_text())["processes"] == 2


_UNKNOWN_FIELD = '{"processes": 1, "stages": [{"stage": "text", "minutes": 1}]}'


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"stages": 3}', _UNKNOWN_FIELD])
def test_a_damaged_file_is_no_timeline(timeline, tmp_path, content):
    (tmp_path / "timeline.json").write_text(content)
    timeline.begin(tmp_path / "timeline.json")
    assert timeline.to_json()["processes"] == 1


def test_jax_reports_what_it_compiles():
    """The names of JAX's events are still those that the timeline knows."""
    from socialrec_jax.runtime.timeline import timeline

    timeline.begin()
    with timeline.stage("compiling"):
        jax.jit(lambda x: x * 3 + 1)(2.0)
    row = stages(timeline)["compiling"]
    assert row["programs"] >= 1
    assert 0 < row["compile_seconds"] <= row["seconds"]
