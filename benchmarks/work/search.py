"""How long does an exact search over a large catalogue take on this machine, and how much memory?

    python -m benchmarks.work.search [--items 10000000] [--width 64] [--users 64] [--k 100]

A random catalogue in the form that serves, searched by the index that serves: scores of all items,
seen ones masked, top k, log-sum-exp. The ceilings are memory: bytes of the catalogue, and the
process's peak. On one device the index holds the catalogue once; on several that are too small for
it, each holds its share. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time

import jax
import numpy as np

from benchmarks.harness.hardware import peak_resident_bytes
from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.index import Index, fits_whole, with_fallback
from socialrec_jax.runtime.environment import environment

_SEEN = 20  # items of each user's history
_ROWS_AT_ONCE = 1 << 18


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.work.search",
        description="An exact search over a large catalogue.",
    )
    parser.add_argument("--items", type=int, default=10_000_000, help="V")
    parser.add_argument("--width", type=int, default=64, help="D")
    parser.add_argument("--users", type=int, default=64, help="queries in all")
    parser.add_argument("--k", type=int, default=100)
    options = parser.parse_args()
    found = measure(options.items, options.width, options.users, options.k)
    for name, value in found.items():
        print(f"{name:24}{value:>16,}")
    print(json.dumps({"benchmark": "catalogue", **found, "environment": environment()}))


def measure(num_items: int, width: int, num_users: int, k: int) -> dict[str, float]:
    """Seconds and bytes of one search; raises AssertionError when its answer is wrong for a user
    that is checked.
    """
    rng = np.random.default_rng(0)
    catalogue, users = unit_rows(rng, num_items, width), unit_rows(rng, num_users, width)
    seen = Pairs(
        _SEEN * np.arange(num_users + 1), rng.integers(0, num_items, _SEEN * num_users, np.int32)
    )
    index = Index(with_fallback(0.07), num_items, sharded=not fits_whole(num_items, width))
    shared = index.place((catalogue, np.zeros(num_items, np.float32)))
    first = next(index.top(shared, users, seen, k))  # compiles
    _check(catalogue, users[0] / 0.07, seen.part(0, 1).items, first[0][0], first[1][0])
    began = time.perf_counter()
    searched = sum(len(items) for items, *_ in index.top(shared, users, seen, k))
    seconds = time.perf_counter() - began
    return {
        "items": num_items,
        "width": width,
        "users": searched,
        "k": k,
        "devices": jax.local_device_count(),
        "sharded": index.sharded,
        "catalogue_mb": round(catalogue.nbytes / 1e6),
        "peak_rss_mb": round(peak_resident_bytes() / 1e6),
        "seconds": round(seconds, 2),
        "ms_per_user": round(1e3 * seconds / searched, 2),
        "gflop_per_second": round(2e-9 * searched * num_items * width / seconds, 2),
    }


def unit_rows(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Random unit vectors [rows, width] float32, made in parts: no second copy of them all."""
    vectors = np.empty((rows, width), np.float32)
    for begin in range(0, rows, _ROWS_AT_ONCE):
        part = vectors[begin : begin + _ROWS_AT_ONCE]
        rng.standard_normal(part.shape, np.float32, out=part)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def _check(
    catalogue: np.ndarray, user: np.ndarray, seen: np.ndarray, items: np.ndarray, best: np.ndarray
) -> None:
    """One user's answer against a plain sort."""
    scores = catalogue @ user
    scores[seen] = -np.inf
    expected = -np.sort(-np.partition(scores, -len(items))[-len(items) :])
    np.testing.assert_allclose(best, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores[items], expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    main()
