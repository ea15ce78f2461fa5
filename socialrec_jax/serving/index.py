"""Exact search over the whole catalogue: top-k for serving, ranks of held-out items for evaluation.

Both read the same masked scores, so that what is judged is what is served. Queries go through in chunks of a fixed
shape; a user's seen items arrive as (row, item) pairs, padded to a power of two so that few shapes compile.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax import parallel
from socialrec_jax.data.world import Events, ranges

_SCORES_AT_ONCE = 1 << 24  # per device: 64 MB
UNRANKED = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True)
class Pairs:
    """(query, item) pairs grouped by query: query q owns items[offsets[q]:offsets[q + 1]]."""

    offsets: np.ndarray  # [Q + 1] int64
    items: np.ndarray  # int32

    def part(self, begin: int, end: int) -> Pairs:
        return Pairs(
            self.offsets[begin : end + 1] - self.offsets[begin], self.items[self.offsets[begin] : self.offsets[end]]
        )

    def rows_of(self, queries: np.ndarray) -> np.ndarray:
        """Where the pairs of some queries lie."""
        return ranges(self.offsets[queries], self.offsets[queries + 1] - self.offsets[queries])

    def of(self, queries: np.ndarray) -> Pairs:
        """The pairs of some queries alone."""
        lengths = self.offsets[queries + 1] - self.offsets[queries]
        return Pairs(np.concatenate([[0], np.cumsum(lengths)]), self.items[self.rows_of(queries)])

    @classmethod
    def history(cls, events: Events, users: np.ndarray, ends: np.ndarray) -> Pairs:
        """What each query's user has had before row ends[q] of events."""
        lengths = ends - events.offsets[users]
        rows = ranges(events.offsets[users], lengths)
        return cls(np.concatenate([[0], np.cumsum(lengths)]), events.items[rows])


class Index:
    """Scores of the catalogue for queries of any kind: `score(shared, queries [q, ...]) -> [q, V]` runs on a device.

    shared: what score needs besides the queries (item vectors, say), on all local devices.
    """

    def __init__(self, score: Callable, num_items: int):
        self.num_items = num_items
        self._score = score
        self._devices = parallel.num_local_devices()
        self.queries_per_device = int(2 ** np.clip(np.log2(_SCORES_AT_ONCE / num_items), 3, 10).astype(int))

    @property
    def queries_per_call(self) -> int:
        return self.queries_per_device * self._devices

    def top(
        self, shared, queries: np.ndarray, seen: Pairs, k: int, allowed: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(items [q, k], scores [q, k], log-sum-exp of all unmasked scores [q]) of successive chunks of queries.

        seen items are left out, and items where allowed [V] is False. Entries with score -inf are no
        recommendation: fewer than k items were left.
        """
        blocked = np.zeros(self.num_items, bool) if allowed is None else ~allowed
        run = self._top(k)
        for size, part, (seen_part,) in self._chunks(queries, seen):
            found = parallel.join_devices(run((shared, blocked), (part, *seen_part)))
            yield tuple(leaf[:size] for leaf in found)

    def ranks(self, shared, queries: np.ndarray, seen: Pairs, targets: Pairs, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rank of each target [M], top items [Q, k]).

        rank = 1 + how many other unmasked items score as high or higher: ties count against us. A target that is
        masked itself, or whose score is not a number, is UNRANKED.
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
            scores = _mask(self._score(shared, chunk[0]), chunk[1], chunk[2])
            scores = jnp.where(blocked[None], -jnp.inf, scores)
            best, items = jax.lax.top_k(scores, k)
            return items, best, jax.nn.logsumexp(scores, axis=-1)

        return parallel.map_devices(top)

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _ranks(self, k: int) -> Callable:
        def ranks(shared, chunk):
            queries, seen_rows, seen_items, rows, items = chunk
            scores = _mask(self._score(shared, queries), seen_rows, seen_items)
            scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
            row = jnp.minimum(rows, len(scores) - 1)
            own = scores[row, items]
            rank = jnp.sum(scores[row] >= own[:, None], axis=-1, dtype=jnp.int32)
            rank = jnp.where(jnp.isfinite(own), rank, UNRANKED)
            return rank, jax.lax.top_k(scores, k)[1], rows < len(scores)

        return parallel.map_devices(ranks)

    def _chunks(self, queries: np.ndarray, *groups: Pairs):
        """(real queries, queries [P, q, ...], pairs of each group as rows and items [P, n]) of successive chunks."""
        P = self._devices
        q = min(self.queries_per_device, bucket(len(queries), P) // P)
        for begin in range(0, len(queries), q * P):
            end = min(begin + q * P, len(queries))
            padded = np.zeros((q * P, *queries.shape[1:]), queries.dtype)
            padded[: end - begin] = queries[begin:end]
            bounds = list(itertools.pairwise(np.minimum(begin + q * np.arange(P + 1), end)))
            pairs = [_pad_pairs([group.part(*bound) for bound in bounds], q) for group in groups]
            yield end - begin, padded.reshape(P, q, *queries.shape[1:]), pairs


def bucket(count: int, devices: int) -> int:
    """The least number >= count that is a power of two on each device: few shapes, so that few programs compile."""
    return devices << max(0, -(-count // devices) - 1).bit_length()


def _pad_pairs(parts: list[Pairs], pad_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and items [P, n] of each device's pairs; padding points at pad_row, one past the last query."""
    size = bucket(max(len(part.items) for part in parts), 1)
    rows, items = np.full((len(parts), size), pad_row, np.int32), np.zeros((len(parts), size), np.int32)
    for device, part in enumerate(parts):
        rows[device, : len(part.items)] = np.repeat(np.arange(len(part.offsets) - 1), np.diff(part.offsets))
        items[device, : len(part.items)] = part.items
    return rows, items


def _mask(scores: jax.Array, rows: jax.Array, items: jax.Array) -> jax.Array:
    return scores.at[rows, items].set(-jnp.inf, mode="drop")


def with_fallback(temperature: float) -> Callable:
    """The retriever's score: shared is (catalogue [V, D], fallback [V]), queries are user states [q, D].

    A state of zeros is a user without history, who gets the fallback's scores.
    """

    def score(shared, users):
        catalogue, fallback = shared
        unknown = jnp.all(users == 0, axis=-1, keepdims=True)
        return (users / temperature) @ catalogue.T + jnp.where(unknown, fallback[None], 0)

    return score


@functools.lru_cache(maxsize=4)
def retrieval_index(temperature: float, num_items: int) -> Index:
    """The retriever's index, one for all who search alike: what validation has compiled serves evaluation too."""
    return Index(with_fallback(temperature), num_items)


@functools.lru_cache(maxsize=4)
def shared_index(num_items: int) -> Index:
    """An index of one list of scores [V] for every query."""
    return Index(lambda scores, queries: jnp.broadcast_to(scores[None], (len(queries), num_items)), num_items)


@functools.lru_cache(maxsize=4)
def dense_index(num_items: int) -> Index:
    """An index of queries that are scores already [q, V]: the baselines'."""
    return Index(lambda _, scores: scores, num_items)
