"""Exact search over the whole catalogue: top-k for serving, ranks of held-out items for evaluation.

Both read the same masked scores, so that what is judged is what is served. Queries go through in
chunks of a fixed shape; a user's seen items arrive as (row, item) pairs, padded to a power of two
so that few shapes compile.

Two layouts give the same answers. Whole: every device holds the catalogue and scores its share of
the queries, and devices need not talk. Sharded: every device holds a run of the items, scores all
queries of a chunk against it, and the devices' best, sums and counts are joined. Both score as much
on each device; what differs is memory.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.topk import top_k
from socialrec_jax.runtime import parallel

_SCORES_AT_ONCE = (
    1 << 25
)  # per device: 128 MB, three times; a catalogue is read once a chunk, so large ones are fast
_WHOLE_BYTES = 1 << 30  # of the catalogue on each device: 4 million items x 64
UNRANKED = np.iinfo(np.int32).max


def fits_whole(num_items: int, width: int) -> bool:
    """Whether every device can hold the whole catalogue [V, D] float32 beside all else that serves,
    or must share it.

    Whole is the better layout where it fits: it sends nothing, and a chunk has P times as many
    queries.
    """
    return parallel.num_local_devices() == 1 or 4 * num_items * width <= _WHOLE_BYTES


class Index:
    """Scores of the catalogue for queries of any kind: `score(shared, queries [q, ...]) -> [q, V]`
    runs on a device.

    shared: what score needs besides the queries (item vectors, say), laid out by `place`. sharded:
    each device gets its run of the items; every leaf of shared then has one row an item, and score
    is asked for these items alone. Among equal scores the item with the lower number comes first,
    in both layouts.
    """

    def __init__(self, score: Callable, num_items: int, sharded: bool = False):
        self.num_items, self.sharded = num_items, sharded
        self._score = score
        self._parts = (
            1 if sharded else parallel.num_local_devices()
        )  # that the queries of a chunk are split into
        self._shares = (
            parallel.num_local_devices() if sharded else 1
        )  # that the items are split into
        self._share = -(-num_items // self._shares)
        self.queries_per_part = int(
            2 ** np.clip(np.log2(_SCORES_AT_ONCE / self._share), 3, 10).astype(int)
        )

    @property
    def queries_per_call(self) -> int:
        return self.queries_per_part * self._parts

    def place(self, shared):
        """shared on the local devices, as this layout wants it."""
        return parallel.shard_rows(shared) if self.sharded else parallel.replicate(shared)

    def top(
        self, shared, queries: np.ndarray, seen: Pairs, k: int, allowed: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(items [q, k], scores [q, k], log-sum-exp of all unmasked scores [q]) of successive
        chunks of queries.

        seen items are left out, and items where allowed [V] is False. Entries with score -inf are
        no recommendation: fewer than k items were left.
        """
        blocked = self.place(np.zeros(self.num_items, bool) if allowed is None else ~allowed)
        run = self._top(k)
        for size, part, (seen_part,) in self._chunks(queries, seen):
            found = parallel.join_devices(run((shared, blocked), (part, *seen_part)))
            yield tuple(leaf[:size] for leaf in found)

    def ranks(
        self, shared, queries: np.ndarray, seen: Pairs, targets: Pairs, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rank of each target [M], top items [Q, k]).

        rank = 1 + how many other unmasked items score as high or higher: ties count against us. A
        target that is masked itself, or whose score is not a number, is UNRANKED.
        """
        ranks, tops = [], []
        for size, part, (seen_part, target_part) in self._chunks(queries, seen, targets):
            rank, top, real = self._ranks(k)(shared, (part, *seen_part, *target_part))
            ranks.append(np.asarray(rank)[np.asarray(real)])
            tops.append(parallel.join_devices(top)[:size])
        return np.concatenate(ranks), np.concatenate(tops)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - one compiled function a k, as long as the index lives
    def _top(self, k: int) -> Callable:
        def top(shared, chunk):
            shared, blocked = shared
            scores = self._masked(self._score(shared, chunk[0]), chunk[1], chunk[2])
            scores = jnp.where(blocked[None], -jnp.inf, scores)
            best, items = self._best(scores, k)
            return (
                items,
                best,
                self._over_shares(jax.nn.logsumexp(scores, axis=-1), jax.nn.logsumexp),
            )

        return self._on_devices(top)

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _ranks(self, k: int) -> Callable:
        def ranks(shared, chunk):
            queries, seen_rows, seen_items, rows, items = chunk
            scores = self._masked(self._score(shared, queries), seen_rows, seen_items)
            scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
            row, places = jnp.minimum(rows, len(scores) - 1), self._places(items)
            own = jnp.where(
                places < self._share, scores[row, jnp.minimum(places, self._share - 1)], -jnp.inf
            )
            own = self._over_shares(own, jnp.max)
            rank = jnp.sum(scores[row] >= own[:, None], axis=-1, dtype=jnp.int32)
            rank = jnp.where(jnp.isfinite(own), self._over_shares(rank, jnp.sum), UNRANKED)
            return rank, self._best(scores, k)[1], rows < len(scores)

        return self._on_devices(ranks)

    def _on_devices(self, function: Callable) -> Callable:
        """function(shared, chunk) as a call: (placed, [parts, ...]) -> [parts, ...]."""
        if not self.sharded:
            return parallel.map_devices(function)
        call = parallel.map_shards(
            lambda share, chunk: jax.tree.map(lambda x: x[None], function(share, chunk))
        )
        return lambda shared, chunk: call(shared, jax.tree.map(lambda x: x[0], chunk))

    def _masked(self, scores: jax.Array, rows: jax.Array, items: jax.Array) -> jax.Array:
        """scores [q, share] with -inf at the pairs (rows, items) and where no item is."""
        scores = scores.at[rows, self._places(items)].set(-jnp.inf, mode="drop")
        if self._share * self._shares == self.num_items:
            return scores
        exists = self._first() + jnp.arange(self._share) < self.num_items
        return jnp.where(exists[None], scores, -jnp.inf)

    def _places(self, items: jax.Array) -> jax.Array:
        """Where items lie among this device's; `share`, one past the last, for those of other
        devices.
        """
        places = items - self._first()
        return jnp.where((places >= 0) & (places < self._share), places, self._share)

    def _first(self) -> jax.Array | int:
        """The number of this device's first item."""
        return parallel.device_number() * self._share if self.sharded else 0

    def _best(self, scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
        """The k best scores and their items [q, k] of the catalogue, given those of this device [q,
        share].
        """
        best, items = top_k(scores, min(k, self._share))
        if not self.sharded:
            return best, items
        # top_k takes the earlier of equals: devices in the order of their items keep the order by
        # number.
        best, items = parallel.gather_over_devices((best.T, (items + self._first()).T))
        best, place = jax.lax.top_k(best.T, k)
        return best, jnp.take_along_axis(items.T, place, axis=1)

    def _over_shares(self, x: jax.Array, join: Callable) -> jax.Array:
        """x [n] of each device, joined."""
        return join(parallel.gather_over_devices(x[None]), axis=0) if self.sharded else x

    def _chunks(self, queries: np.ndarray, *groups: Pairs):
        """(real queries, queries [parts, q, ...], pairs of each group as rows and items [parts, n])
        of each chunk.
        """
        P = self._parts
        q = min(self.queries_per_part, bucket(len(queries), P) // P)
        for begin in range(0, len(queries), q * P):
            end = min(begin + q * P, len(queries))
            padded = np.zeros((q * P, *queries.shape[1:]), queries.dtype)
            padded[: end - begin] = queries[begin:end]
            bounds = list(itertools.pairwise(np.minimum(begin + q * np.arange(P + 1), end)))
            pairs = [_pad_pairs([group.part(*bound) for bound in bounds], q) for group in groups]
            yield end - begin, padded.reshape(P, q, *queries.shape[1:]), pairs


def bucket(count: int, devices: int) -> int:
    """The least number >= count that is a power of two on each device: few shapes, so that few
    programs compile.
    """
    return devices << max(0, -(-count // devices) - 1).bit_length()


def _pad_pairs(parts: list[Pairs], pad_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and items [P, n] of each device's pairs; padding points at pad_row, one past the last
    query.
    """
    size = bucket(max(len(part.items) for part in parts), 1)
    rows, items = (
        np.full((len(parts), size), pad_row, np.int32),
        np.zeros((len(parts), size), np.int32),
    )
    for device, part in enumerate(parts):
        rows[device, : len(part.items)] = np.repeat(
            np.arange(len(part.offsets) - 1), np.diff(part.offsets)
        )
        items[device, : len(part.items)] = part.items
    return rows, items


def with_fallback(temperature: float) -> Callable:
    """The retriever's score: shared is (catalogue [V, D], fallback [V]), queries are user states
    [q, D].

    A state of zeros is a user without history, who gets the fallback's scores.
    """

    def score(shared, users):
        catalogue, fallback = shared
        unknown = jnp.all(users == 0, axis=-1, keepdims=True)
        return (users / temperature) @ catalogue.T + jnp.where(unknown, fallback[None], 0)

    return score


@functools.lru_cache(maxsize=4)
def retrieval_index(temperature: float, num_items: int, sharded: bool = False) -> Index:
    """The retriever's index, one for all who search alike: what validation has compiled serves
    evaluation too.
    """
    return Index(with_fallback(temperature), num_items, sharded)


@functools.lru_cache(maxsize=4)
def shared_index(num_items: int) -> Index:
    """An index of one list of scores [V] for every query."""
    return Index(
        lambda scores, queries: jnp.broadcast_to(scores[None], (len(queries), num_items)), num_items
    )


@functools.lru_cache(maxsize=4)
def dense_index(num_items: int) -> Index:
    """An index of queries that are scores already [q, V]: the baselines'."""
    return Index(lambda _, scores: scores, num_items)
