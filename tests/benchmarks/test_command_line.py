"""The commands end with the documented codes, name a mistake, and show help without JAX."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.schema import Writer
from tests import workers
from tests.benchmarks.test_report import ENVIRONMENT, HARDWARE
from tests.benchmarks.test_schema import ROW, RUN


def exit_code(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture
def file(tmp_path):
    import dataclasses

    run = dataclasses.replace(RUN, environment=ENVIRONMENT, hardware=HARDWARE)
    row = dataclasses.replace(ROW, calibration_seconds=[1.0, 1.0], p10=1.0, p90=2.0, p99=2.0)
    Writer(tmp_path / "smoke.jsonl", run).write(row)
    return tmp_path / "smoke.jsonl"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "--suite", "smoke", "--onyl", "x"], "--only"),
        (["run", "--suite", "smoek"], "smoke"),
        (["comprae", "a", "b"], "compare"),
        (["report", "--out"], "report"),
    ],
)
def test_a_mistake_is_a_usage_error_that_says_what_was_meant(arguments, meant, capsys):
    assert exit_code(*arguments) == 64
    assert meant in capsys.readouterr().err


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert exit_code("compare", tmp_path / "a", tmp_path / "b") == 66
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_suite_without_the_case_is_a_usage_error(tmp_path, capsys, monkeypatch):
    from benchmarks.harness import memory

    monkeypatch.setattr(memory, "limit_allocations", lambda: None)
    arguments = ("run", "--suite", "smoke", "--only", "no such case", "--out", tmp_path)
    assert exit_code(*arguments) == 64
    assert "no such case" in capsys.readouterr().err


def test_a_suite_without_time_is_a_usage_error(capsys):
    for option in ("--budget", "--seconds"):
        assert exit_code("run", "--suite", "smoke", option, "-1") == 64
        assert option in capsys.readouterr().err


def test_a_loop_over_tables_that_are_not_there_is_named(tmp_path):
    ended = workers.call("benchmarks.loop", "--out", tmp_path, "--data", "nowhere")
    assert ended.code == 66
    assert "nowhere/events.parquet" in ended.errors


def test_an_unknown_arm_is_a_usage_error(tmp_path, capsys):
    assert exit_code("run", "--suite", "quality", "--arms", "no luck", "--out", tmp_path) == 64
    assert "no friends" in capsys.readouterr().err


def test_compare_and_report_end_with_json(file, tmp_path, capsys):
    assert exit_code("compare", file, file, "--gate") == 0
    compared = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert compared["results"][0]["verdict"] == "no difference"

    out = tmp_path / "new" / "page.html"
    assert exit_code("report", file, file, "--out", out) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["file"] == str(out)
    assert "<h1>Benchmarks</h1>" in out.read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--reference-device", "no such card"), "a <processor>, 2 cores"),
        (("--price", "card"), "H100"),
        (("--price", "card=cheap"), "cheap"),
    ],
)
def test_a_device_or_price_that_cannot_be_read_is_a_usage_error(options, named, file, capsys):
    assert exit_code("report", file, "--out", file.with_suffix(".html"), *options) == 64
    assert named in capsys.readouterr().err


def test_prices_may_be_given_several_times(file, capsys):
    out = file.with_suffix(".html")
    prices = ("--price", "another=1", "--price", "processor=3.6")
    assert exit_code("report", file, "--out", out, *prices) == 0
    assert "3.6 an hour" in out.read_text()


def test_a_count_that_grew_fails_the_gate(file, tmp_path, capsys):
    grown = tmp_path / "grown.jsonl"
    grown.write_text(file.read_text().replace('"compilations": 3', '"compilations": 4'))
    assert exit_code("compare", file, grown) == 0
    assert exit_code("compare", file, grown, "--gate") == 70


def test_help_does_not_wait_for_jax():
    code = """
import sys
from benchmarks.__main__ import main
try:
    main(["run", "--help"])
except SystemExit as end:
    assert not end.code
assert not {"jax", "numpy"} & sys.modules.keys()
"""
    ended = workers.fresh_python("-c", code)
    assert ended.code == 0, ended.errors
