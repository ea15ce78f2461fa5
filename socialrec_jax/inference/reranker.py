"""Candidates and their order: retrieval joined with what was bought together, friends and trends,
then the ranker.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.batch import Candidates
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.ranker_features import Query
from socialrec_jax.inference.candidates import CandidateGenerator, GeneratedCandidates, on_devices
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array


@dataclasses.dataclass(frozen=True)
class RankedLists:
    """Candidates of q users in their order, best first; what does not exist comes last with score
    -inf.
    """

    items: np.ndarray  # [q, C] int32
    scores: np.ndarray  # [q, C] float32
    probabilities: (
        np.ndarray
    )  # [q, C, A] float32 that the next event is of this type and on this item
    sources: np.ndarray  # [q, C] index into SOURCES


class Reranker:
    """A trained ranker at work: from users' states to their candidates in order."""

    def __init__(
        self,
        generator: CandidateGenerator,
        params: dict,
        num_event_types: int,
        focus: tuple[int, ...],
    ):
        """focus: event types that candidates are sorted by; all when empty."""
        self.generator, self.focus = generator, list(focus)
        ranker = Ranker(num_event_types, interactions=params["user"]["kernel"].shape[-1])
        projected = jax.jit(ranker.bind({"params": params}).project)(
            jnp.asarray(generator.catalogue)
        )
        self._shared = parallel.replicate((params, projected))
        self._logits = parallel.map_devices(functools.partial(_rank_candidates, ranker))

    def lists(
        self,
        shared,
        states: np.ndarray,
        query: Query,
        seen: Pairs,
        allowed: np.ndarray | None = None,
        k: int = 0,
    ) -> Iterator[RankedLists]:
        """Candidates of users [Q] in order, in chunks that together cover all; see
        `Finder.propose`.
        """
        for generated in self.generator.generate(shared, states, query, seen, allowed, k):
            yield self._order(generated)

    def _order(self, generated: GeneratedCandidates) -> RankedLists:
        query = generated.candidates
        logits = on_devices(self._logits, self._shared, query, self.generator.features.chunk)
        sorted_by = logits[..., self.focus] if self.focus else logits
        score = np.where(query.exists, np.logaddexp.reduce(sorted_by, axis=-1), -np.inf)
        order = np.argsort(-score, axis=1, kind="stable")
        items, score, sources = (
            np.take_along_axis(x, order, 1) for x in (query.items, score, generated.sources)
        )
        return RankedLists(
            items, score, np.take_along_axis(_sigmoid(logits), order[..., None], 1), sources
        )


def _rank_candidates(ranker: Ranker, shared: tuple[dict, jax.Array], query: Candidates) -> Array:
    params, projected = shared
    return ranker.bind({"params": params})(query, projected)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
