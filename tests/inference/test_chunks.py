"""Chunks of queries: a bounded number of calls is in flight, and results keep their order."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.chunks import chunks_of, in_flight


def test_results_keep_their_order_and_at_most_three_calls_are_open():
    started = []

    def calls():
        for call in range(6):
            started.append(call)
            yield call

    for result in in_flight(calls()):
        # All before it have been read.
        assert started[-1] - result <= 2
        assert started == list(range(len(started)))
    assert list(in_flight(range(6))) == list(range(6))
    assert list(in_flight([])) == []


def test_queries_may_be_computed_chunk_by_chunk():
    read = []

    class Squares:
        def __len__(self) -> int:
            return 20

        def __getitem__(self, rows: slice) -> np.ndarray:
            read.append(rows)
            return np.arange(20)[rows, None] ** 2

    seen = Pairs(np.arange(21), np.arange(20, dtype=np.int32))
    chunks = chunks_of(Squares(), seen, None, queries_per_part=4, devices=2)
    assert not read
    queries = [chunk.queries.reshape(-1)[: chunk.size] for chunk in chunks]
    assert len(read) == 3
    np.testing.assert_array_equal(np.concatenate(queries), np.arange(20) ** 2)


def test_pairs_belong_to_the_queries_of_their_device():
    # Query n has seen n items, all of them called n.
    lengths = np.arange(7)
    seen = Pairs(
        np.concatenate([[0], np.cumsum(lengths)]), np.repeat(lengths, lengths).astype(np.int32)
    )
    queries = np.arange(7)[:, None]
    counts = np.zeros(7, int)
    for chunk in chunks_of(queries, seen, seen, queries_per_part=2, devices=2):
        for rows, items in (chunk.seen, chunk.targets):
            for device in range(2):
                is_pair = rows[device] < 2
                owners = chunk.queries[device, rows[device][is_pair], 0]
                np.testing.assert_array_equal(owners, items[device][is_pair])
                np.add.at(counts, owners, 1)
    np.testing.assert_array_equal(counts, 2 * lengths)
