"""A file appears whole or not at all, and its bytes follow from the rows of the stream."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from socialrec_jax.errors import INTERRUPTED, TERMINATED, BadData, InputMissing, UsageError
from socialrec_jax.runtime import cli
from socialrec_jax.serving import writer
from socialrec_jax.serving.tasks import audience, demand, profile, recommend, score, search, similar
from socialrec_jax.serving.writer import TEXT_SUFFIXES, with_short_floats, write_tables

TYPES = ["view", 'a "type", with\nmore']
SCHEMAS = {
    "recommend": recommend.schema(TYPES, explores=True),
    "score": score.schema(TYPES),
    "audience": audience.schema(TYPES),
    "profile": profile.schema(TYPES),
    "similar": similar.SCHEMA,
    "search": search.SCHEMA,
    "demand": demand.SCHEMA,
}
# Of a text: none at all, an empty one, and what must be quoted.
TEXTS = [None, "", "007", "null", 'Größe "L", 语\nfür,alle']
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


def test_the_last_suffix_says_the_format(tmp_path):
    path = tmp_path / "old.csv.jsonl"
    write_tables(path, [pa.table({"user_id": ["u1"]})])
    assert json.loads(path.read_text()) == {"user_id": "u1"}


def test_json_lines_are_json_where_a_number_is_none(tmp_path):
    scores = pa.array([float("nan"), float("inf"), 0.5], pa.float32())
    write_tables(tmp_path / "out.jsonl", [pa.table({"score": scores})])
    assert (tmp_path / "out.jsonl").read_text() == '{"score":null}\n{"score":null}\n{"score":0.5}\n'


@pytest.mark.parametrize("suffix", [".parquet", *TEXT_SUFFIXES])
def test_the_bytes_follow_from_the_rows(tmp_path, suffix):
    whole = pa.concat_tables(parts())
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    write_tables(first, parts())
    write_tables(second, [whole])
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", [".parquet", *TEXT_SUFFIXES])
def test_nothing_is_left_of_a_stream_that_breaks(tmp_path, suffix):
    def broken():
        yield table(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_tables(tmp_path / f"out{suffix}", broken())
    assert not list(tmp_path.iterdir())


def values_of(kind: pa.DataType) -> list:
    """Values of a type, None among them; lists and structs of such values."""
    if pa.types.is_list(kind):
        return [None, [], values_of(kind.value_type)[1:]]
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        rows = zip(*(cycled(field.type, 5) for field in kind), strict=True)
        return [None, *(dict(zip(names, row, strict=True)) for row in rows)]
    if pa.types.is_boolean(kind):
        return [None, True, False]
    if pa.types.is_floating(kind):
        return [None, 0.1, -1e-7, 3e38, 1.0]
    return TEXTS if pa.types.is_string(kind) else [None, 0, -1, 2**31 - 1]


def cycled(kind: pa.DataType, count: int) -> list:
    values = values_of(kind)
    return [values[number % len(values)] for number in range(count)]


def rows_in(file: Path, schema: pa.Schema) -> list[dict]:
    """The rows of a CSV or JSON lines file, as a reader sees them who knows the columns."""
    opened = gzip.open if file.suffix == ".gz" else open
    if ".jsonl" in file.suffixes:
        with opened(file, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    nested = [field.name for field in schema if pa.types.is_nested(field.type)]
    options = pcsv.ConvertOptions(
        column_types={field.name: flat_type(field.type) for field in schema},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parse = pcsv.ParseOptions(newlines_in_values=True)
    rows = pcsv.read_csv(file, parse_options=parse, convert_options=options).to_pylist()
    return [row | {name: row[name] and json.loads(row[name]) for name in nested} for row in rows]


def flat_type(kind: pa.DataType) -> pa.DataType:
    """As what a column is read from CSV."""
    if pa.types.is_nested(kind):
        return pa.string()
    return pa.float64() if pa.types.is_float32(kind) else kind


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
@pytest.mark.parametrize("task", SCHEMAS)
def test_texts_hold_the_rows_of_every_task(tmp_path, task, suffix):
    schema = SCHEMAS[task]
    columns = {field.name: pa.array(cycled(field.type, 12), field.type) for field in schema}
    table = pa.table(columns, schema=schema)
    file = tmp_path / f"out{suffix}"
    assert write_tables(file, [schema.empty_table(), table.slice(0, 5), table.slice(5)]) == 12
    assert rows_in(file, schema) == with_short_floats(table).to_pylist()


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
    for name in ("out.xlsx", "out.parquet.gz", "out.CSV", "out.2024-11-27"):
        with pytest.raises(UsageError, match=r"\.parquet, \.csv, \.csv\.gz, \.jsonl"):
            write_tables(tmp_path / name, parts())
    with pytest.raises(InputMissing, match="nowhere"):
        write_tables(tmp_path / "nowhere" / "out.jsonl", parts())
    with pytest.raises(BadData, match="nothing to write"):
        write_tables(tmp_path / "out.jsonl", [SCHEMA.empty_table()])
