"""Candidates in order: the lists of the candidate generator, sorted by the ranker."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from scipy.special import expit

from socialrec_jax.batch import Candidates
from socialrec_jax.inference.candidates import (
    CandidateGenerator,
    CandidateRequest,
    GeneratedCandidates,
    chunk_size,
)
from socialrec_jax.inference.chunks import map_padded
from socialrec_jax.models.ranker import Ranker, scores
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array


@dataclasses.dataclass(frozen=True)
class RankedLists:
    """Candidates of q queries, best first.

    Lists are padded to one length C: what does not exist comes last, with score -inf.
    """

    items: np.ndarray  # [q, C] int32
    scores: np.ndarray  # [q, C] float32
    probabilities: np.ndarray  # [q, C, A] that the next event is of this type and on this item
    sources: np.ndarray  # [q, C] index into SOURCES


class Reranker:
    """A trained ranker, which puts the candidates of a generator in order."""

    def __init__(
        self,
        generator: CandidateGenerator,
        params: dict,
        num_event_types: int,
        focus: tuple[int, ...],
    ):
        """focus: event types that candidates are sorted by; all when empty."""
        self.generator = generator
        self.params, self._num_event_types, self._focus = params, num_event_types, focus
        interactions = params["user"]["kernel"].shape[-1]
        ranker = Ranker(num_event_types, interactions, focus)
        # Item vectors are projected once, not for every candidate.
        projected = projection(num_event_types, ranker.interactions)(params, generator.catalogue)
        self._shared = parallel.replicate((params, projected))
        self._rank = parallel.map_devices(functools.partial(_rank_candidates, ranker))

    def with_generator(self, generator: CandidateGenerator) -> Reranker:
        """The same ranker, which reads other vectors and features of the items."""
        return Reranker(generator, self.params, self._num_event_types, self._focus)

    def lists(self, request: CandidateRequest) -> Iterator[RankedLists]:
        """The candidates of a request in order, in chunks that cover all its queries."""
        for generated in self.generator.generate(request):
            yield self._sorted(generated)

    def score(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
        """(scores [q, C], logits [q, C, A]) of candidates in their order, existing or not."""
        size = chunk_size(candidates.items.shape[1])
        return map_padded(self._rank, self._shared, candidates, size)

    def _sorted(self, generated: GeneratedCandidates) -> RankedLists:
        candidates = generated.candidates
        values, logits = self.score(candidates)
        values = np.where(candidates.exists, values, -np.inf)
        # Stable: among equal scores the earlier source comes first.
        order = np.argsort(-values, axis=1, kind="stable")
        sorted_logits = np.take_along_axis(logits, order[..., None], 1)
        return RankedLists(
            items=np.take_along_axis(candidates.items, order, 1),
            scores=np.take_along_axis(values, order, 1),
            probabilities=expit(sorted_logits),
            sources=np.take_along_axis(generated.sources, order, 1),
        )


@functools.lru_cache(maxsize=4)
def projection(num_event_types: int, interactions: int) -> Callable:
    """(params, vectors [V, D]) -> [V, I], one program for all rankers of these sizes."""
    return jax.jit(functools.partial(_project, Ranker(num_event_types, interactions)))


def _project(ranker: Ranker, params: dict, vectors: Array) -> Array:
    return ranker.bind({"params": params}).project(vectors)


def _rank_candidates(
    ranker: Ranker, shared: tuple[dict, jax.Array], candidates: Candidates
) -> tuple[Array, Array]:
    """(what candidates are sorted by [q, C], logits [q, C, A])."""
    params, projected = shared
    logits = ranker.bind({"params": params})(candidates, projected)
    return scores(logits, ranker.focus), logits
