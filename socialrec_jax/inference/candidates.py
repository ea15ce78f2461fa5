"""Candidates of each user: retrieval joined with co-occurrence, friends' items and trends."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np

from socialrec_jax.batch import Candidates
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.ranker_features import Query, RankerFeatures
from socialrec_jax.inference.index import Index
from socialrec_jax.models.ranker import measure
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array

SOURCES = ("history", "bought together", "friends", "trending", "popular")


POPULAR = SOURCES.index("popular")  # for users of whom nothing is known


PER_LIST = {"history": 100, "bought together": 60, "friends": 40, "trending": 20}


@dataclasses.dataclass(frozen=True)
class GeneratedCandidates:
    """The candidates of q questions, padded to one number C."""

    candidates: Candidates
    sources: np.ndarray  # [q, C] index into SOURCES: the first list that named the item


@functools.cache
def _measures() -> Callable:
    """One for all finders: what is compiled for the ranker's training serves its evaluation too."""

    def measure_candidates(vectors: tuple, query: tuple) -> tuple[Array, Array]:
        return measure(*query, *vectors)

    return parallel.map_devices(measure_candidates)


class CandidateGenerator:
    """Finds candidates and looks up what is known of them: host work around an exact search on the
    devices.
    """

    def __init__(
        self,
        index: Index,
        features: RankerFeatures,
        catalogue,
        texts: np.ndarray,
        temperature: float,
    ):
        """catalogue [V, D], texts [V, F]: vectors of the items; temperature: of the retriever's
        cosines.
        """
        self.index, self.features, self.texts, self.temperature = (
            index,
            features,
            texts,
            temperature,
        )
        self.catalogue = np.asarray(catalogue)
        self._vectors = parallel.replicate((self.catalogue, texts))

    def generate(
        self,
        shared,
        states: np.ndarray,
        query: Query,
        seen: Pairs,
        allowed: np.ndarray | None = None,
        k: int = 0,
    ) -> Iterator[GeneratedCandidates]:
        """Candidates of users [Q] with retriever states [Q, D], in chunks that together cover all
        in order.

        shared: see `Recommender.shared`. seen items are no candidates, nor those where allowed [V]
        is False. At least k items each, where there are.
        """
        lists = PER_LIST | {"history": min(max(PER_LIST["history"], k), self.index.num_items)}
        done, step = 0, self.features.chunk
        for items, best, normalisers in self.index.top(
            shared, states, seen, lists["history"], allowed
        ):
            items = np.where(np.isfinite(best), items, -1)
            for begin in range(0, len(items), step):
                end = min(begin + step, len(items))
                at = slice(done + begin, done + end)
                part, forbidden = query.part(at.start, at.stop), seen.part(at.start, at.stop)
                found = items[begin:end], normalisers[begin:end]
                yield self._join(states[at], *found, part, forbidden, allowed, lists)
            done += len(items)

    def _join(
        self, states, retrieved, normalisers, query: Query, seen: Pairs, allowed, lists
    ) -> GeneratedCandidates:
        query_features = self.features.look_up(query)
        proposals = {"history": retrieved} | self.features.proposals(query_features, lists)
        items, sources = _union(proposals, seen, len(self.texts), allowed, sum(lists.values()))
        unknown = ~states.any(axis=1, keepdims=True)  # the search gave them what is popular
        sources = np.where(unknown & (sources == 0), POPULAR, sources)
        exists = items >= 0
        items = np.maximum(items, 0)
        profiles = np.asarray(query_features.history @ self.texts, np.float32)
        cosine, text = on_devices(
            _measures(), self._vectors, (states, profiles, items), self.features.chunk
        )
        retrieval = cosine / self.temperature - normalisers[:, None]
        features = self.features.compute(query_features, items, retrieval, text)
        return GeneratedCandidates(
            Candidates(states=states, items=items, exists=exists, features=features), sources
        )


def on_devices(function: Callable, shared, rows, size: int):
    """function(shared, rows [q, ...]) on all devices, the rows filled up to the one size that
    compiles.
    """
    P = parallel.num_local_devices()
    q, size = len(jax.tree.leaves(rows)[0]), -(-size // P) * P
    padded = jax.tree.map(
        lambda leaf: np.pad(leaf, [(0, size - q)] + [(0, 0)] * (leaf.ndim - 1)), rows
    )
    found = parallel.join_devices(function(shared, parallel.split_over_devices(padded)))
    return jax.tree.map(lambda leaf: leaf[:q], found)


def _union(lists: dict[str, np.ndarray], seen: Pairs, num_items: int, allowed, width: int):
    """(items [q, width] or -1, sources [q, width]): every item once, under the first list that has
    it.
    """
    everything = np.concatenate(list(lists.values()), axis=1)
    source = np.concatenate(
        [np.full(part.shape[1], SOURCES.index(name)) for name, part in lists.items()]
    )
    q, n = everything.shape
    keys = np.arange(q)[:, None] * (num_items + 1) + everything
    forbidden = np.repeat(np.arange(q), np.diff(seen.offsets)) * (num_items + 1) + seen.items
    order = np.argsort(keys, axis=1, kind="stable")  # the earlier list first among equal items
    ordered = np.take_along_axis(keys, order, 1)
    first = np.ones((q, n), bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    keep = np.zeros((q, n), bool)
    np.put_along_axis(keep, order, first, 1)
    keep &= (everything >= 0) & ~np.isin(keys, forbidden)
    if allowed is not None:
        keep &= allowed[np.maximum(everything, 0)]
    place = np.argsort(~keep, axis=1, kind="stable")
    items = np.where(
        np.take_along_axis(keep, place, 1), np.take_along_axis(everything, place, 1), -1
    )
    pad = ((0, 0), (0, width - n))
    return np.pad(items, pad, constant_values=-1), np.pad(source[place], pad)
