"""Searches one catalogue in both layouts, in a process of its own with several devices.

python -m tests.inference.layouts FILE --devices N    writes the results
"""

from __future__ import annotations

import numpy as np

from tests import workers

ITEMS, QUERIES, K = (
    203,
    37,
    30,
)  # a prime number of items: shares are unequal, and some are smaller than K


def main() -> None:
    options = workers.options()
    results = {}
    for name, integers in (("ties", True), ("smooth", False)):
        for layout in ("whole", "sharded"):
            results |= {
                f"{name}/{layout}/{k}": v for k, v in search(integers, layout == "sharded").items()
            }
    np.savez(options.place, **results)


def search(integers: bool, sharded: bool) -> dict[str, np.ndarray]:
    """Top items and ranks of random queries; integer vectors make exact scores with plenty of
    ties.
    """
    from socialrec_jax.data.csr import Pairs
    from socialrec_jax.inference.index import Index
    from socialrec_jax.inference.scores import with_fallback

    rng = np.random.default_rng(0)
    draw = (
        (lambda *shape: rng.integers(-1, 2, shape))
        if integers
        else (lambda *shape: rng.normal(size=shape))
    )
    catalogue, users = draw(ITEMS, 6).astype(np.float32), draw(QUERIES, 6).astype(np.float32)
    users[3] = 0  # a user without history
    catalogue[7] = np.nan
    fallback = rng.integers(0, 5, ITEMS).astype(np.float32)
    seen, targets = (
        [rng.permutation(ITEMS)[: rng.integers(1, most)] for _ in range(QUERIES)]
        for most in (190, 5)
    )
    seen, targets = (
        Pairs(np.cumsum([0, *map(len, lists)]), np.concatenate(lists).astype(np.int32))
        for lists in (seen, targets)
    )
    index = Index(with_fallback(0.5), ITEMS, sharded)
    shared = index.place((catalogue, fallback))
    clean = index.place((np.nan_to_num(catalogue), fallback))
    items, best, total = (
        np.concatenate(leaves)
        for leaves in zip(*index.top(clean, users, seen, K, rng.random(ITEMS) < 0.8), strict=True)
    )
    ranks, tops = index.ranks(shared, users, seen, targets, K)
    return {"items": items, "best": best, "total": total, "ranks": ranks, "tops": tops}


if __name__ == "__main__":
    main()
