"""Exact top-k search of the catalogue, by the index that serves."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, expect_close
from benchmarks.harness.workloads import CATALOGUES, Catalogue
from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.index import Index, fits_whole
from socialrec_jax.inference.scores import with_fallback
from socialrec_jax.runtime import parallel

_TEMPERATURE = 0.07
_CHECKED = 8  # queries
_LEAST_CHUNKS = 4  # on an accelerator, where several are in flight
# Relative to the largest score. Search multiplies with the precision of float32 on every device.
_TOLERANCE = 1e-5


def search(name: str, k: int, seen_per_user: int = 0) -> Work:
    """Top k of random user states; so many seen items of each user are left out."""
    workload = CATALOGUES[name]
    V, D = workload.items, workload.width
    # As serving does: the catalogue is split over the devices where one cannot hold it.
    index = Index(with_fallback(_TEMPERATURE), V, sharded=not fits_whole(V, D))
    Q = _num_queries(workload, index)
    data = _random_data(workload, Q, seen_per_user)
    # The fallback scores [V] are of users without history, and there are none here.
    catalogue = index.place((data.catalogue, np.zeros(V, np.float32)))

    def call(_) -> tuple[np.ndarray, ...]:
        # Items, scores and log-sum-exps, chunk by chunk of the queries.
        chunks = index.top(catalogue, data.states, data.seen, k)
        return tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))

    # The catalogue is read once for each chunk of queries; scores are written and read.
    num_chunks = -(-Q // index.queries_per_call)
    return Work(
        call=call,
        carry=None,
        check=lambda carry: _check(data, *carry[:2]),
        unit="users",
        units_per_call=Q,
        flops=flops.softmax(Q, V, D),
        bytes=4.0 * V * (D * num_chunks + 2 * Q),
        devices=parallel.num_devices(),
    )


@dataclasses.dataclass(frozen=True)
class _Data:
    catalogue: np.ndarray  # [V, D]
    states: np.ndarray  # [Q, D]
    seen: Pairs


def _num_queries(workload: Catalogue, index: Index) -> int:
    """Those of the preset, or as many as fill some chunks of an accelerator."""
    if jax.default_backend() == "cpu":
        return workload.queries
    return max(workload.queries, _LEAST_CHUNKS * index.queries_per_call)


def _random_data(workload: Catalogue, num_queries: int, seen_per_user: int) -> _Data:
    """Vectors of about unit length, and seen items that are drawn uniformly."""
    rng = np.random.default_rng(0)
    V, D, Q = workload.items, workload.width, num_queries
    catalogue = rng.normal(size=(V, D)) / D**0.5
    states = rng.normal(size=(Q, D)) / D**0.5
    # Each user has seen as many items, in CSR form.
    offsets = seen_per_user * np.arange(Q + 1, dtype=np.int64)
    items = rng.integers(0, V, seen_per_user * Q, np.int32)
    seen = Pairs(offsets, items)
    return _Data(catalogue.astype(np.float32), states.astype(np.float32), seen)


def _check(data: _Data, items: np.ndarray, scores: np.ndarray) -> None:
    """Raise WrongResult unless the first queries have the best scores, and the items with these
    scores.
    """
    items, scores = items[:_CHECKED], scores[:_CHECKED]
    # All scores of these queries [8, V]; what a user has seen is no candidate.
    expected = data.states[:_CHECKED] / _TEMPERATURE @ data.catalogue.T
    for query in range(_CHECKED):
        expected[query, data.seen.part(query, query + 1).items] = -np.inf
    k = items.shape[1]
    # A plain sort of all scores is the reference.
    order = np.argsort(-expected, axis=1)[:, :k]
    best = np.take_along_axis(expected, order, 1)
    expect_close("the best scores", scores, best, _TOLERANCE)
    # Scores that are equal may belong to several items, so items are compared by their scores.
    scores_of_items = np.take_along_axis(expected, items, 1)
    expect_close("scores of the items", scores, scores_of_items, _TOLERANCE)
