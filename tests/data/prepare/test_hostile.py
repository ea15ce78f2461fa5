"""Broken and hostile files are refused in one line, or make a World of the rest; nothing runs."""

from __future__ import annotations

import gzip
import json
import pickle

import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.prepare import prepare
from tests.damage import Payload
from tests.torture.mutations import ROWS, peak_memory, prepared, try_mutations

HUNDRED_MB = 100 << 20


def test_mutated_bytes_are_refused_or_prepared(tmp_path):
    outcome = try_mutations(tmp_path, 60, seed=0)  # `make torture` tries 2,000
    assert not outcome.problems, str(outcome)
    assert outcome.endings["World"] > 10
    assert outcome.endings["refused"] > 10


@pytest.mark.parametrize("name", ["events.csv", "events.jsonl", "events.parquet"])
def test_a_pickle_is_never_opened(tmp_path, name):
    marker = tmp_path / "executed"
    assert prepared(tmp_path, name, pickle.dumps(Payload(marker))) == "refused"
    assert not marker.exists()


def test_a_bomb_and_a_long_line_take_little_memory(tmp_path):
    head = b"user,item,timestamp\n"
    bomb = gzip.compress(head + bytes(3 * HUNDRED_MB), compresslevel=1)
    before = peak_memory()
    assert prepared(tmp_path, "events.csv.gz", bomb) == "refused"
    assert prepared(tmp_path, "events.csv", head + b"x" * (50 << 20) + b",i,1\n") == "refused"
    assert peak_memory() - before < 10 * HUNDRED_MB


def test_ids_are_no_paths_and_no_sql(tmp_path):
    odd = ("../../../tmp/x", "'; DROP TABLE events_rows; --", '" OR 1=1', "$(touch x)", "%s {0}")
    source = tmp_path / "it's; a --shop"
    source.mkdir()
    rows = [
        {"user": odd[n % 5], "item": odd[-n % 4], "timestamp": row[2]} for n, row in enumerate(ROWS)
    ]
    (source / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
    world = prepare(source, tmp_path / "world", DataConfig(), "leave-one-out")
    assert set(world.user_ids.tolist()) == set(odd)
    assert len(world.events.items) == len(rows)
