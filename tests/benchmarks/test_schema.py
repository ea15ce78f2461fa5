"""A result file is whole lines of known fields, and what a kill leaves can be read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.harness.schema import OK, Reference, Row, Run, Writer, read
from socialrec_jax.errors import BadData, InputMissing

RUN = Run(
    suite="smoke",
    started="2026-01-01T00:00:00+00:00",
    command="c",
    commit=None,
    config_hash="0",
    environment={"devices": ["cpu"]},
    hardware={"device": "cpu"},
)
ROW = Row(
    suite="smoke", case="step", preset="tiny", status=OK, seconds=[1.0, 2], p50=1.5, compilations=3
)


@pytest.fixture
def file(tmp_path):
    writer = Writer(tmp_path / "smoke.jsonl", RUN)
    writer.write(ROW)
    writer.write(dataclasses.replace(ROW, case="other"))
    return tmp_path / "smoke.jsonl"


def test_what_is_written_is_read(file):
    results = read(file)
    assert results.run == RUN
    assert results.by_case()["step", "tiny"] == ROW


def test_a_torn_last_line_costs_only_itself(file):
    file.write_text(file.read_text()[:-20])
    assert [row.case for row in read(file).rows] == ["step"]


@pytest.mark.parametrize(
    "change",
    [
        {"status": "fine"},
        {"p50": "fast"},
        {"seconds": ["1"]},
        {"speed": 3},
        {"bound_by": "luck"},
        {"noisy": 1},
    ],
)
def test_a_field_that_is_no_field_is_named(file, change):
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadData, match=next(iter(change))):
        read(file)


def test_a_field_that_is_missing_is_named(file):
    lines = file.read_text().splitlines()
    values = json.loads(lines[1])
    del values["preset"]
    lines[1] = json.dumps(values)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadData, match="preset"):
        read(file)


def test_another_schema_version_is_named(file):
    file.write_text(file.read_text().replace('"schema_version": 3', '"schema_version": 99'))
    with pytest.raises(BadData, match="99"):
        read(file)


def test_published_figures_are_fields_of_their_own(file):
    published = dataclasses.asdict(Reference("n", 1.0, "tokens/s", "a card", "a paper"))
    lines = file.read_text().splitlines()
    row = json.loads(lines[1])
    file.write_text("\n".join([lines[0], json.dumps(row | {"references": [published]})]) + "\n")
    assert read(file).rows[0].references == [published]

    without_source = {name: value for name, value in published.items() if name != "source"}
    torn = json.dumps(row | {"references": [without_source]})
    file.write_text("\n".join([lines[0], torn, lines[2]]) + "\n")
    with pytest.raises(BadData, match="source"):
        read(file)


def test_the_committed_results_can_be_read():
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    files = sorted(folder.glob("*.jsonl"))
    assert files
    for file in files:
        assert read(file).rows, file


def test_no_result_file(tmp_path):
    with pytest.raises(InputMissing):
        read(tmp_path / "none.jsonl")
    (tmp_path / "text.jsonl").write_text("a\nb\n")
    with pytest.raises(BadData):
        read(tmp_path / "text.jsonl")
