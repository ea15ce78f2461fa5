"""Ids are found in every format that a run has, and other ids are not taken for them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from socialrec_jax.data.columns import Strings
from socialrec_jax.pipeline.id_search import IdSearch

SEARCH = IdSearch.of(["u66", "12", "customer-7", "müller x"])
BINARY = bytes(range(200, 256)) + b"\0"


def write_strings(texts: list[str], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Strings.of(texts).save(path)


def write_table(file: Path, **columns: list | pa.Array) -> None:
    pq.write_table(pa.table(columns), file, compression="zstd")


def write_all(folder: Path, short: str, long: str, number: int) -> None:
    """A file of each format with these ids."""
    write_table(folder / "recommended.parquet", user_id=[short], rank=[12])
    write_table(folder / "numbers.parquet", item=[number])
    write_table(folder / "lists.parquet", friends=[["a", short]])
    write_table(folder / "structs.parquet", friends=[[{"user_id": short}]])
    write_table(folder / "categories.parquet", user=pa.array([short]).dictionary_encode())
    write_table(folder / "reasons.parquet", reasons=[f"because of {short}, again"])
    write_strings(["ab", str(number), "1"], folder / "world" / "user_ids")
    write_strings(["a title", f"for {short}"], folder / "titles")
    (folder / "report.html").write_text(f"<td>{short}</td>")
    (folder / "answers.jsonl").write_text(f'{{"user": "{number}", "rank": 12}}\n')
    (folder / "answers.csv.gz").write_bytes(gzip.compress(f"user\n{short}\n".encode()))
    (folder / "events.tfevents").write_bytes(BINARY + long.encode() + BINARY)
    packed = zstandard.compress(BINARY + long.encode() * 9)
    (folder / "checkpoint").write_bytes(BINARY + packed + BINARY)
    np.savez_compressed(folder / "arrays.npz", names=np.array([long.encode()]))
    (folder / f"{long}.txt").write_text("nothing")


@pytest.mark.parametrize(
    ("ids", "is_found"),
    [
        (("u66", "customer-7", 12), True),
        (("u668", "custome-7", 120), False),
        (("xu66", "customer_7", 212), False),
    ],
)
def test_ids_are_found_in_every_format(tmp_path, ids, is_found):
    write_all(tmp_path, *ids)
    # Offsets are numbers, and no ids.
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    found = SEARCH.files_with_ids(files)
    expected = [file for file in files if not file.name.endswith(".offsets.npy")]
    assert found == (expected if is_found else [])


def test_ids_with_blanks_and_letters_of_other_languages(tmp_path):
    (tmp_path / "plain.txt").write_text("to müller x.")
    (tmp_path / "escaped.json").write_text('{"user": "m\\u00fcller x"}')
    files = sorted(tmp_path.iterdir())
    assert SEARCH.files_with_ids(files) == files
