"""Candidates and their order: retrieval joined with what was bought together, friends and trends, then the ranker."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.batch import Candidates
from socialrec_jax.data.features.ranker_features import Questions, Signals
from socialrec_jax.inference.index import Index, Pairs
from socialrec_jax.models.ranker import Ranker, measure
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array

SOURCES = ("history", "bought together", "friends", "trending", "popular")
POPULAR = SOURCES.index("popular")  # for users of whom nothing is known
PER_LIST = {"history": 100, "bought together": 60, "friends": 40, "trending": 20}


@dataclasses.dataclass(frozen=True)
class Proposed:
    """The candidates of q questions, padded to one number C."""

    candidates: Candidates
    sources: np.ndarray  # [q, C] index into SOURCES: the first list that named the item


@dataclasses.dataclass(frozen=True)
class Ranked:
    """Candidates of q users in their order, best first; what does not exist comes last with score -inf."""

    items: np.ndarray  # [q, C] int32
    scores: np.ndarray  # [q, C] float32
    chances: np.ndarray  # [q, C, A] float32 that the next event is of this type and on this item
    sources: np.ndarray  # [q, C] index into SOURCES


@functools.cache
def _measures() -> Callable:
    """One for all finders: what is compiled for the ranker's training serves its evaluation too."""

    def measure_candidates(vectors: tuple, asked: tuple) -> tuple[Array, Array]:
        return measure(*asked, *vectors)

    return parallel.map_devices(measure_candidates)


class Finder:
    """Finds candidates and looks up what is known of them: host work around an exact search on the devices."""

    def __init__(
        self, index: Index, signals: Signals, catalogue, texts: np.ndarray, temperature: float
    ):
        """catalogue [V, D], texts [V, F]: vectors of the items; temperature: of the retriever's cosines."""
        self.index, self.signals, self.texts, self.temperature = index, signals, texts, temperature
        self.catalogue = np.asarray(catalogue)
        self._vectors = parallel.replicate((self.catalogue, texts))

    def propose(
        self,
        shared,
        states: np.ndarray,
        asked: Questions,
        seen: Pairs,
        allowed: np.ndarray | None = None,
        k: int = 0,
    ) -> Iterator[Proposed]:
        """Candidates of users [Q] with retriever states [Q, D], in chunks that together cover all in order.

        shared: see `Recommender.shared`. seen items are no candidates, nor those where allowed [V] is False. At least
        k items each, where there are.
        """
        lists = PER_LIST | {"history": min(max(PER_LIST["history"], k), self.index.num_items)}
        done, step = 0, self.signals.chunk
        for items, best, normalisers in self.index.top(
            shared, states, seen, lists["history"], allowed
        ):
            items = np.where(np.isfinite(best), items, -1)
            for begin in range(0, len(items), step):
                end = min(begin + step, len(items))
                at = slice(done + begin, done + end)
                part, forbidden = asked.part(at.start, at.stop), seen.part(at.start, at.stop)
                found = items[begin:end], normalisers[begin:end]
                yield self._join(states[at], *found, part, forbidden, allowed, lists)
            done += len(items)

    def _join(
        self, states, retrieved, normalisers, asked: Questions, seen: Pairs, allowed, lists
    ) -> Proposed:
        looked = self.signals.look_up(asked)
        proposals = {"history": retrieved} | self.signals.proposals(looked, lists)
        items, sources = _union(proposals, seen, len(self.texts), allowed, sum(lists.values()))
        unknown = ~states.any(axis=1, keepdims=True)  # the search gave them what is popular
        sources = np.where(unknown & (sources == 0), POPULAR, sources)
        exists = items >= 0
        items = np.maximum(items, 0)
        profiles = np.asarray(looked.history @ self.texts, np.float32)
        cosine, text = on_devices(
            _measures(), self._vectors, (states, profiles, items), self.signals.chunk
        )
        retrieval = cosine / self.temperature - normalisers[:, None]
        signals = self.signals.of(looked, items, retrieval, text)
        return Proposed(
            Candidates(states=states, items=items, exists=exists, signals=signals), sources
        )


class Ranking:
    """A trained ranker at work: from users' states to their candidates in order."""

    def __init__(self, finder: Finder, params: dict, num_event_types: int, focus: tuple[int, ...]):
        """focus: event types that candidates are sorted by; all when empty."""
        self.finder, self.focus = finder, list(focus)
        ranker = Ranker(num_event_types, interactions=params["user"]["kernel"].shape[-1])
        projected = jax.jit(ranker.bind({"params": params}).project)(jnp.asarray(finder.catalogue))
        self._shared = parallel.replicate((params, projected))
        self._logits = parallel.map_devices(functools.partial(_rank_candidates, ranker))

    def lists(
        self,
        shared,
        states: np.ndarray,
        asked: Questions,
        seen: Pairs,
        allowed: np.ndarray | None = None,
        k: int = 0,
    ) -> Iterator[Ranked]:
        """Candidates of users [Q] in order, in chunks that together cover all; see `Finder.propose`."""
        for proposed in self.finder.propose(shared, states, asked, seen, allowed, k):
            yield self._order(proposed)

    def _order(self, proposed: Proposed) -> Ranked:
        asked = proposed.candidates
        logits = on_devices(self._logits, self._shared, asked, self.finder.signals.chunk)
        sorted_by = logits[..., self.focus] if self.focus else logits
        score = np.where(asked.exists, np.logaddexp.reduce(sorted_by, axis=-1), -np.inf)
        order = np.argsort(-score, axis=1, kind="stable")
        items, score, sources = (
            np.take_along_axis(x, order, 1) for x in (asked.items, score, proposed.sources)
        )
        return Ranked(
            items, score, np.take_along_axis(_sigmoid(logits), order[..., None], 1), sources
        )


def _rank_candidates(ranker: Ranker, shared: tuple[dict, jax.Array], asked: Candidates) -> Array:
    params, projected = shared
    return ranker.bind({"params": params})(asked, projected)


def on_devices(function: Callable, shared, rows, size: int):
    """function(shared, rows [q, ...]) on all devices, the rows filled up to the one size that compiles."""
    P = parallel.num_local_devices()
    q, size = len(jax.tree.leaves(rows)[0]), -(-size // P) * P
    padded = jax.tree.map(
        lambda leaf: np.pad(leaf, [(0, size - q)] + [(0, 0)] * (leaf.ndim - 1)), rows
    )
    found = parallel.join_devices(function(shared, parallel.split_over_devices(padded)))
    return jax.tree.map(lambda leaf: leaf[:q], found)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _union(lists: dict[str, np.ndarray], seen: Pairs, num_items: int, allowed, width: int):
    """(items [q, width] or -1, sources [q, width]): every item once, under the first list that has it."""
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
