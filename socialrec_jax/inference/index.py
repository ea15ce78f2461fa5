"""Exact search over the whole catalogue: top-k for serving, ranks of held-out items for evaluation.

Both read the same masked scores, so that serving gives what evaluation measures. Queries go through
in chunks of a fixed shape. A user's seen items arrive as (row, item) pairs, padded to a power of
two so that few shapes compile.

Two layouts give the same answers. Whole: every device holds the catalogue and scores its share of
the queries, and devices send nothing. Sharded: every device holds a run of the items and scores all
queries of a chunk against it; then the devices' best items, sums and counts are joined. Both score
as much on each device; they differ in memory.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.topk import top_k
from socialrec_jax.runtime import parallel

# Scores on a device at once: 128 MB, three times. A chunk reads the catalogue once, so a large
# chunk is fast.
_SCORES_AT_ONCE = 1 << 25

# Of the catalogue on each device: 4 million items x 64.
_WHOLE_BYTES = 1 << 30

# The rank of a target that cannot be ranked.
UNRANKED = np.iinfo(np.int32).max


class TopItems(NamedTuple):
    """The best items of q queries, best first; score -inf where fewer than k items are left."""

    items: np.ndarray  # [q, k] int32
    scores: np.ndarray  # [q, k] float32
    log_totals: np.ndarray  # [q] log-sum-exp over all unmasked scores


def fits_whole(num_items: int, width: int) -> bool:
    """Whether every device can hold the whole catalogue [V, D] float32, or must share it.

    Whole is the better layout where it fits: it sends nothing, and a chunk has P times as many
    queries.
    """
    return parallel.num_local_devices() == 1 or 4 * num_items * width <= _WHOLE_BYTES


class Index:
    """Scores the catalogue for queries of any kind.

    `score(shared, queries [q, ...]) -> [q, V]` runs on a device. shared: what it needs besides the
    queries (item vectors, say), laid out by `place`. sharded: each device gets its run of the
    items; then every leaf of shared has one row an item, and score sees these items alone.

    Among equal scores the item with the lower number comes first, in both layouts.
    """

    def __init__(self, score: Callable, num_items: int, sharded: bool = False):
        self.num_items, self.sharded = num_items, sharded
        self._score = score
        P = parallel.num_local_devices()
        self._query_parts = 1 if sharded else P
        self._item_shards = P if sharded else 1
        self._items_per_shard = -(-num_items // self._item_shards)
        exponent = np.clip(np.log2(_SCORES_AT_ONCE / self._items_per_shard), 3, 10)
        self.queries_per_part = int(2 ** exponent.astype(int))

    @property
    def queries_per_call(self) -> int:
        return self.queries_per_part * self._query_parts

    def place(self, shared):
        """shared on the local devices, as this layout needs it."""
        return parallel.shard_rows(shared) if self.sharded else parallel.replicate(shared)

    def top(
        self, shared, queries: np.ndarray, seen: Pairs, k: int, allowed: np.ndarray | None = None
    ) -> Iterator[TopItems]:
        """The k best items of successive chunks of queries [Q, ...].

        seen items are left out, and items where allowed [V] is False.
        """
        blocked = np.zeros(self.num_items, bool) if allowed is None else ~allowed
        placed = (shared, self.place(blocked))
        search = self._top(k)
        for size, part, (seen_part,) in self._chunks(queries, seen):
            results = parallel.join_devices(search(placed, (part, *seen_part)))
            yield TopItems(*(leaf[:size] for leaf in results))

    def ranks(
        self, shared, queries: np.ndarray, seen: Pairs, targets: Pairs, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rank of each target [M], top items [Q, k]).

        rank = 1 + the number of other unmasked items that score as high or higher: ties count
        against the model. A target that is masked itself, or whose score is not a number, is
        UNRANKED.
        """
        ranks, tops = [], []
        rank_targets = self._ranks(k)
        for size, part, (seen_part, target_part) in self._chunks(queries, seen, targets):
            rank, top, real = rank_targets(shared, (part, *seen_part, *target_part))
            # Targets were padded; those of padding are dropped.
            ranks.append(np.asarray(rank)[np.asarray(real)])
            tops.append(parallel.join_devices(top)[:size])
        return np.concatenate(ranks), np.concatenate(tops)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - one program a k, as long as the index lives
    def _top(self, k: int) -> Callable:
        def top(shared, chunk):
            shared, blocked = shared
            queries, seen_rows, seen_items = chunk
            scores = self._score(shared, queries)
            scores = self._masked(scores, seen_rows, seen_items)
            scores = jnp.where(blocked[None], -jnp.inf, scores)
            best, items = self._best(scores, k)
            # From it follow probabilities: exp(score - log total).
            log_totals = jax.nn.logsumexp(scores, axis=-1)
            return items, best, self._reduce_shards(log_totals, jax.nn.logsumexp)

        return self._on_devices(top)

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _ranks(self, k: int) -> Callable:
        def ranks(shared, chunk):
            queries, seen_rows, seen_items, rows, items = chunk
            scores = self._score(shared, queries)
            scores = self._masked(scores, seen_rows, seen_items)
            # A model that gives no numbers must not win: what is not a number ranks before targets.
            scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
            last = len(scores) - 1
            ranks = self._ranks_of(scores, jnp.minimum(rows, last), items)
            _, top_items = self._best(scores, k)
            return ranks, top_items, rows <= last

        return self._on_devices(ranks)

    def _ranks_of(self, scores: jax.Array, rows: jax.Array, items: jax.Array) -> jax.Array:
        """The rank [m] of each (row, item) pair among scores [q, items of this shard]."""
        size, columns = self._items_per_shard, self._columns(items)
        in_shard = scores[rows, jnp.minimum(columns, size - 1)]
        own = jnp.where(columns < size, in_shard, -jnp.inf)
        own = self._reduce_shards(own, jnp.max)
        ranks = jnp.sum(scores[rows] >= own[:, None], axis=-1, dtype=jnp.int32)
        ranks = self._reduce_shards(ranks, jnp.sum)
        return jnp.where(jnp.isfinite(own), ranks, UNRANKED)

    # Below, "this shard" is what one device holds of the items: all of them in the whole layout.

    def _on_devices(self, function: Callable) -> Callable:
        """function(shared, chunk) as a call: (placed, [parts, ...]) -> [parts, ...]."""
        if not self.sharded:
            return parallel.map_devices(function)
        call = parallel.map_shards(
            lambda share, chunk: jax.tree.map(lambda x: x[None], function(share, chunk))
        )
        return lambda shared, chunk: call(shared, jax.tree.map(lambda x: x[0], chunk))

    def _masked(self, scores: jax.Array, rows: jax.Array, items: jax.Array) -> jax.Array:
        """scores [q, items of this shard] with -inf at the pairs (rows, items).

        The last shard is filled up to the length of the others; what does not exist is -inf too.
        """
        # Padding and items of other shards lie outside, where "drop" ignores them.
        scores = scores.at[rows, self._columns(items)].set(-jnp.inf, mode="drop")
        if self._items_per_shard * self._item_shards == self.num_items:
            return scores
        items_of_shard = self._first_item() + jnp.arange(self._items_per_shard)
        exists = items_of_shard < self.num_items
        return jnp.where(exists[None], scores, -jnp.inf)

    def _columns(self, items: jax.Array) -> jax.Array:
        """The columns of items in this shard; one past the last for items of other shards."""
        columns = items - self._first_item()
        size = self._items_per_shard
        return jnp.where((columns >= 0) & (columns < size), columns, size)

    def _first_item(self) -> jax.Array | int:
        """The number of this shard's first item."""
        return parallel.device_number() * self._items_per_shard if self.sharded else 0

    def _best(self, scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
        """The k best scores and their items [q, k] of the catalogue.

        scores [q, items of this shard].
        """
        best, items = top_k(scores, min(k, self._items_per_shard))
        if not self.sharded:
            return best, items
        # Devices are in the order of their items, and top_k takes the earlier of equals: so equals
        # stay in the order of their numbers.
        items = items + self._first_item()
        best, items = parallel.gather_over_devices((best.T, items.T))
        best, columns = jax.lax.top_k(best.T, k)
        return best, jnp.take_along_axis(items.T, columns, axis=1)

    def _reduce_shards(self, x: jax.Array, reduce: Callable) -> jax.Array:
        """x [n] of each shard, reduced over all shards."""
        if not self.sharded:
            return x
        return reduce(parallel.gather_over_devices(x[None]), axis=0)

    def _chunks(self, queries: np.ndarray, *groups: Pairs):
        """Successive chunks of queries.

        Each is (real queries, queries [parts, q, ...], pairs of each group as rows and items
        [parts, n]).
        """
        P = self._query_parts
        q = min(self.queries_per_part, bucket(len(queries), P) // P)
        shape = queries.shape[1:]
        for begin in range(0, len(queries), q * P):
            end = min(begin + q * P, len(queries))
            # The last chunk is padded with zeros: every chunk runs the same program.
            padded = np.zeros((q * P, *shape), queries.dtype)
            padded[: end - begin] = queries[begin:end]
            bounds = np.minimum(begin + q * np.arange(P + 1), end)
            pairs = [_pad_pairs(_split(group, bounds), q) for group in groups]
            yield end - begin, padded.reshape(P, q, *shape), pairs


def bucket(count: int, devices: int) -> int:
    """The least number >= count that is a power of two on each device: few shapes compile."""
    return devices << max(0, -(-count // devices) - 1).bit_length()


def _split(pairs: Pairs, bounds: np.ndarray) -> list[Pairs]:
    """The pairs of the queries between each two bounds."""
    return [pairs.part(begin, end) for begin, end in itertools.pairwise(bounds)]


def _pad_pairs(parts: list[Pairs], pad_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and items [P, n] of each device's pairs.

    Padding points at pad_row, one past the last query.
    """
    size = bucket(max(len(part.items) for part in parts), 1)
    rows = np.full((len(parts), size), pad_row, np.int32)
    items = np.zeros((len(parts), size), np.int32)
    for device, part in enumerate(parts):
        count = len(part.items)
        lengths = np.diff(part.offsets)
        rows[device, :count] = np.repeat(np.arange(len(lengths)), lengths)
        items[device, :count] = part.items
    return rows, items


def with_fallback(temperature: float) -> Callable:
    """The retriever's score: cosine / temperature, or popularity for users without history.

    shared is (catalogue [V, D], fallback [V]), queries are user states [q, D]. A state of zeros is
    a user without history, who gets the fallback's scores.
    """

    def score(shared, users):
        catalogue, fallback = shared
        cosines = (users / temperature) @ catalogue.T
        unknown = jnp.all(users == 0, axis=-1, keepdims=True)
        return cosines + jnp.where(unknown, fallback[None], 0)

    return score


@functools.lru_cache(maxsize=4)
def retrieval_index(temperature: float, num_items: int, sharded: bool = False) -> Index:
    """The retriever's index, one for all of the same sizes, so that nothing compiles twice."""
    return Index(with_fallback(temperature), num_items, sharded)


@functools.lru_cache(maxsize=4)
def shared_index(num_items: int) -> Index:
    """An index of one list of scores [V] for every query."""

    def score(scores, queries):
        return jnp.broadcast_to(scores[None], (len(queries), num_items))

    return Index(score, num_items)


@functools.lru_cache(maxsize=4)
def dense_index(num_items: int) -> Index:
    """An index of queries that are scores already [q, V], as the baselines give them."""
    return Index(lambda _, scores: scores, num_items)
