"""A file appears whole or not at all, and its bytes follow from the rows of the stream."""

from __future__ import annotations

import json
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.errors import INTERRUPTED, TERMINATED, BadData, InputMissing, UsageError
from socialrec_jax.runtime import cli
from socialrec_jax.serving import writer
from socialrec_jax.serving.writer import write_tables

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int32()), ("score", pa.float32())])


def table(*numbers: int) -> pa.Table:
    names = [f"n{number} Größe 语" for number in numbers]
    scores = [number / 10 for number in numbers]
    return pa.table({"name": names, "number": numbers, "score": scores}, schema=SCHEMA)


def parts() -> list[pa.Table]:
    return [SCHEMA.empty_table(), table(1), table(2, 3, 4, 5), table(6, 7)]


def test_parquet_holds_all_rows_in_groups_of_one_size(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_ROWS_A_GROUP", 3)
    assert write_tables(tmp_path / "out.parquet", parts()) == 7
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.read() == pa.concat_tables(parts())
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [3, 3, 1]


def test_json_lines_hold_the_shortest_numbers_and_texts_as_they_are(tmp_path):
    assert write_tables(tmp_path / "out.jsonl", parts()) == 7
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[0] == '{"name":"n1 Größe 语","number":1,"score":0.1}'
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]


def test_json_lines_are_json_where_a_number_is_none(tmp_path):
    scores = pa.array([float("nan"), float("inf"), 0.5], pa.float32())
    write_tables(tmp_path / "out.jsonl", [pa.table({"score": scores})])
    assert (tmp_path / "out.jsonl").read_text() == '{"score":null}\n{"score":null}\n{"score":0.5}\n'


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_the_bytes_follow_from_the_rows(tmp_path, suffix):
    whole = pa.concat_tables(parts())
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    write_tables(first, parts())
    write_tables(second, [whole])
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_nothing_is_left_of_a_stream_that_breaks(tmp_path, suffix):
    def broken():
        yield table(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_tables(tmp_path / f"out{suffix}", broken())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_nothing_is_left_after_a_signal(tmp_path, number, code):
    def interrupted():
        yield table(1)
        signal.raise_signal(number)
        yield table(2)

    with pytest.raises(SystemExit) as end:
        cli.main(lambda _: write_tables(tmp_path / "out.parquet", interrupted()), [])
    assert end.value.code == code
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"\.parquet or \.jsonl"):
        write_tables(tmp_path / "out.xlsx", parts())
    with pytest.raises(InputMissing, match="nowhere"):
        write_tables(tmp_path / "nowhere" / "out.jsonl", parts())
    with pytest.raises(BadData, match="nothing to write"):
        write_tables(tmp_path / "out.jsonl", [SCHEMA.empty_table()])
