"""Exact search over the whole catalogue: top-k for serving, ranks of held-out items for evaluation.

Both read the same masked scores, so that serving gives what evaluation measures. Queries go through
in chunks of a fixed shape, and nothing is waited for between chunks. A user's seen items arrive as
(row, item) pairs, padded to a power of two so that few shapes compile.

Two layouts give the same answers. Whole: every device holds the catalogue and scores its share of
the queries, and devices send nothing. Sharded: every device holds a run of the items and scores all
queries of a chunk against it; then the devices' best items, sums and counts are joined. Both score
as much on each device; they differ in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.chunks import Chunk, Rows, chunks_of, in_flight
from socialrec_jax.inference.scores import Score, with_fallback
from socialrec_jax.inference.topk import top_k, top_k_and_log_total
from socialrec_jax.inference.tuning import SearchTuning, search_tuning
from socialrec_jax.runtime import parallel

# Of the catalogue on each device: 4 million items x 64.
_WHOLE_BYTES = 1 << 30

_LEAST_QUERIES = 8  # of a chunk on each device

# The rank of a target that cannot be ranked.
UNRANKED = np.iinfo(np.int32).max


class TopItems(NamedTuple):
    """The best items of q queries, best first; score -inf where fewer than k items are left."""

    items: np.ndarray  # [q, k] int32
    scores: np.ndarray  # [q, k] float32
    log_totals: np.ndarray  # [q] log-sum-exp over the scores of all counted items but seen ones


def fits_whole(num_items: int, width: int) -> bool:
    """Whether every device can hold the whole catalogue [V, D] float32, or must share it.

    Whole is the better layout where it fits: it sends nothing, and a chunk has P times as many
    queries.
    """
    return parallel.num_local_devices() == 1 or 4 * num_items * width <= _WHOLE_BYTES


class Index:
    """Scores the catalogue for queries [q, ...] of any kind.

    shared: what the score needs besides the queries (item vectors, say), laid out by `place`.
    sharded: each device gets its run of the items; then every leaf of shared has one row an item,
    and the score sees these items alone.

    Among equal scores the item with the lower number comes first, in both layouts.
    """

    def __init__(
        self,
        score: Score,
        num_items: int,
        sharded: bool = False,
        tuning: SearchTuning | None = None,
    ):
        """tuning: that of this process's devices by default."""
        self.num_items, self.sharded = num_items, sharded
        self._score, self._tuning = score, tuning or search_tuning()
        P = parallel.num_local_devices()
        self._query_parts = 1 if sharded else P
        self._item_shards = P if sharded else 1
        self._items_per_shard = -(-num_items // self._item_shards)
        self.queries_per_part = _queries_per_part(self._tuning, self._items_per_shard)
        # One program a k, as long as this index lives.
        self._compiled_top = functools.lru_cache(maxsize=8)(self._compile_top)
        self._compiled_ranks = functools.lru_cache(maxsize=8)(self._compile_ranks)

    @property
    def queries_per_call(self) -> int:
        return self.queries_per_part * self._query_parts

    def place(self, shared):
        """shared on the local devices, as this layout needs it."""
        return parallel.shard_rows(shared) if self.sharded else parallel.replicate(shared)

    def top(
        self,
        shared,
        queries: np.ndarray,
        seen: Pairs,
        k: int,
        allowed: np.ndarray | None = None,
        *,
        counted: np.ndarray | None = None,
        repeats: bool = False,
    ) -> Iterator[TopItems]:
        """The k best items of successive chunks of queries [Q, ...].

        allowed [V]: only these items are listed, and of the seen ones none, or all with repeats.
        counted [V]: the total is that of these items, without the seen ones. So the total does not
        depend on what is listed. Both are all items by default.
        """
        all_items = np.ones(self.num_items, bool)
        masks = tuple(all_items if mask is None else mask for mask in (allowed, counted))
        placed = (shared, self.place(masks))
        search = self._compiled_top(k, repeats)
        calls = (
            (chunk.size, search(placed, (chunk.queries, *chunk.seen)))
            for chunk in self._chunks(queries, seen)
        )
        for size, results in in_flight(calls):
            yield TopItems(*(leaf[:size] for leaf in parallel.join_devices(results)))

    def ranks(
        self, shared, queries: Rows, seen: Pairs, targets: Pairs, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rank of each target [M], top items [Q, k]).

        rank = 1 + the number of other unmasked items that score as high or higher: ties count
        against the model. A target that is masked itself, or whose score is not a number, is
        UNRANKED.
        """
        ranks, tops = [], []
        rank_targets = self._compiled_ranks(k)
        calls = (
            (chunk.size, rank_targets(shared, (chunk.queries, *chunk.seen, *chunk.targets)))
            for chunk in self._chunks(queries, seen, targets)
        )
        for size, (rank, top, is_real) in in_flight(calls):
            # Targets were padded; those of padding are dropped.
            rank, is_real = parallel.on_host((rank, is_real))
            ranks.append(rank[is_real])
            tops.append(parallel.join_devices(top)[:size])
        return np.concatenate(ranks), np.concatenate(tops)

    def _compile_top(self, k: int, repeats: bool) -> Callable:
        return self._on_devices(functools.partial(self.top_of_chunk, k, repeats))

    def _compile_ranks(self, k: int) -> Callable:
        return self._on_devices(functools.partial(self.ranks_of_chunk, k))

    def top_of_chunk(
        self, k: int, repeats: bool, placed: tuple, chunk: tuple
    ) -> tuple[jax.Array, ...]:
        """The program of `top` on one device: items [q, k], scores [q, k], log totals [q]."""
        shared, (allowed, counted) = placed
        new = self._scores(shared, *chunk)
        listed = self._scores(shared, chunk[0]) if repeats else new
        best, items, log_totals = top_k_and_log_total(
            jnp.where(allowed[None], listed, -jnp.inf),
            jnp.where(counted[None], new, -jnp.inf),
            min(k, self._items_per_shard),
            self._tuning.least_blocks,
            self._shifts(shared, chunk[0]),
        )
        best, items = self._join_shards(best, items, k)
        # From it follow probabilities: exp(score - log total).
        return items, best, self._reduce_shards(log_totals, jax.nn.logsumexp)

    def _shifts(self, shared, queries: jax.Array) -> jax.Array | None:
        return None if self._score.shifts is None else self._score.shifts(shared, queries)

    def ranks_of_chunk(self, k: int, shared, chunk: tuple) -> tuple[jax.Array, ...]:
        """The program of `ranks` on one device: ranks [m], top items [q, k], real targets [m]."""
        queries, seen_rows, seen_items, rows, items = chunk
        scores = self._scores(shared, queries, seen_rows, seen_items)
        # A model that gives no numbers must not win: what is not a number ranks before targets.
        scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
        last = len(scores) - 1
        ranks = self._ranks_of(scores, jnp.minimum(rows, last), items)
        best, top_items = top_k(scores, min(k, self._items_per_shard), self._tuning.least_blocks)
        _, top_items = self._join_shards(best, top_items, k)
        return ranks, top_items, rows <= last

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

    def _scores(
        self,
        shared,
        queries: jax.Array,
        seen_rows: jax.Array | None = None,
        seen_items: jax.Array | None = None,
    ) -> jax.Array:
        """The scores [q, items of this shard] with -inf at the pairs of seen items, where given.

        The last shard is filled up to the length of the others; what does not exist is -inf too.
        """
        scores = self._score.products(shared, queries)
        if seen_rows is not None and seen_items is not None:
            # Nothing else reads the products, so XLA masks them in place. Padding and items of
            # other shards lie outside, where "drop" ignores them.
            scores = scores.at[seen_rows, self._columns(seen_items)].set(-jnp.inf, mode="drop")
        if self._score.addend is not None:
            scores = scores + self._score.addend(shared, queries)
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

    def _join_shards(
        self, best: jax.Array, items: jax.Array, k: int
    ) -> tuple[jax.Array, jax.Array]:
        """The k best scores and their items [q, k] of the catalogue, given those of this shard."""
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

    def _chunks(self, queries: Rows, seen: Pairs, targets: Pairs | None = None) -> Iterator[Chunk]:
        return chunks_of(queries, seen, targets, self.queries_per_part, self._query_parts)


def _queries_per_part(tuning: SearchTuning, num_items: int) -> int:
    """A power of two whose scores [q, V] fit into the bytes of a chunk, within limits."""
    fitting = max(1, tuning.chunk_bytes // (4 * num_items))
    power_of_two = 1 << (fitting.bit_length() - 1)
    return min(max(power_of_two, _LEAST_QUERIES), tuning.most_queries)


@functools.lru_cache(maxsize=4)
def retrieval_index(temperature: float, num_items: int, sharded: bool = False) -> Index:
    """The retriever's index, one for all of the same sizes, so that nothing compiles twice."""
    return Index(with_fallback(temperature), num_items, sharded)


def cosine_search(vectors: np.ndarray, sharded: bool) -> tuple[Index, Any]:
    """(index, its inputs on the devices) to search unit vectors [V, F] by their cosine."""
    # With a temperature of 1 the retriever's score is the cosine itself.
    index = retrieval_index(1.0, len(vectors), sharded)
    return index, index.place((vectors, np.zeros(len(vectors), np.float32)))
