"""The engine of evaluation and serving: states of queries, candidates in order, probabilities."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from scipy.special import softmax

from socialrec_jax.config import Config
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.features.shared_terms import SharedTerms
from socialrec_jax.data.query import Query, friend_sampler_of, query_as_of
from socialrec_jax.data.world import NOW, World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.candidates import (
    POPULAR,
    CandidateGenerator,
    CandidateRequest,
    totals_of,
)
from socialrec_jax.inference.capacity import padded_fixed, padded_model, padded_variables
from socialrec_jax.inference.chunks import map_in_chunks
from socialrec_jax.inference.encoder import Encoder, encoder_of
from socialrec_jax.inference.index import Index, TopItems, fits_whole, retrieval_index
from socialrec_jax.inference.load import Loaded, focus_of, load_run
from socialrec_jax.inference.recommendations import Recommendations
from socialrec_jax.inference.reranker import RankedLists, Reranker
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import parallel

# Encoded together before their lists begin. Fewer of them fill the encoder's rows as well, and the
# first lists come sooner.
_QUERIES_AT_ONCE = 8192

# One size each for the heads that predict types of events: one program, the same bytes for a user
# alone and among others.
_STATES_AT_ONCE, _PAIRS_AT_ONCE = 256, 2048


@dataclasses.dataclass(frozen=True, eq=False)
class Engine:
    """A World with trained parameters at work.

    It never changes: other parameters make another engine. What is compiled belongs to the model
    and the shapes, and is shared by all engines of the same model (`encoder_of`,
    `retrieval_index`).
    """

    world: World
    config: Config
    model: RecommenderModel
    texts: np.ndarray  # [V, F] the items' fixed vectors, F = 0 for models without
    friend_sampler: FriendSampler | None  # of all friendships, None where there are none
    encoder: Encoder
    index: Index
    variables: dict  # of the retriever, on all devices
    catalogue: jax.Array  # [V, D] item vectors, on all devices
    reranker: Reranker | None = None  # None: the order is the retriever's

    @classmethod
    def create(
        cls,
        world: World,
        config: Config,
        model: RecommenderModel,
        params: dict,
        *,
        texts: np.ndarray | None = None,
        known: np.ndarray | None = None,
        friend_sampler: FriendSampler | None = None,
    ) -> Engine:
        """An engine of a retriever's parameters.

        texts [V, F]: the items' fixed vectors, for models that know them. known [V] bool: items
        whose ids were learnt, all of them by default. friend_sampler: of all friendships of the
        World; many engines of one World can share it.
        """
        texts = np.zeros((world.num_items, 0), np.float32) if texts is None else texts
        known = np.ones(world.num_items, bool) if known is None else known
        padded = padded_model(model, world)
        encoder = encoder_of(padded, config)
        # The item vectors may be too large for every device to hold them all.
        sharded = not fits_whole(world.num_items, config.model.width)
        variables = parallel.replicate(padded_variables(params, texts, known, padded))
        return cls(
            world=world,
            config=config,
            model=model,
            texts=texts,
            friend_sampler=friend_sampler or friend_sampler_of(world, config.seed),
            encoder=encoder,
            index=retrieval_index(config.model.temperature, world.num_items, sharded),
            variables=variables,
            catalogue=encoder.catalogue(variables, world.num_items),
        )

    @classmethod
    def load(cls, run: Path, as_of: AsOf = NOW) -> Engine:
        """The engine of a run directory for queries as of some time.

        Queries as of now get the model that learnt from all events, if the run has one. Earlier
        queries get the model that was evaluated, which has not seen what came later. Raises
        InputMissing, BadData or DiskError when the run is damaged.
        """
        return cls.of_loaded(load_run(run, refitted=as_of.is_now))

    @classmethod
    def of_loaded(cls, loaded: Loaded) -> Engine:
        """The engine of a model that was loaded, with its ranker where it has one."""
        engine = cls.create(
            loaded.world,
            loaded.config,
            loaded.model,
            loaded.params,
            texts=loaded.texts,
            known=loaded.known,
        )
        if loaded.ranker is None or loaded.features is None:
            return engine
        return engine.with_ranker(loaded.features, loaded.ranker)

    def with_ranker(self, features: RankerFeatures, params: dict) -> Engine:
        """The same engine, whose candidates are put in order by a ranker."""
        focus = focus_of(self.config, self.world)
        generator = self.candidate_generator(features)
        reranker = Reranker(generator, params, self.model.num_event_types, focus)
        return dataclasses.replace(self, reranker=reranker)

    def candidate_generator(self, features: RankerFeatures) -> CandidateGenerator:
        """Candidates around this retriever."""
        return CandidateGenerator(
            self.index, features, self.catalogue, self.texts, self.config.model.temperature
        )

    def query(self, users: np.ndarray, as_of: AsOf = NOW) -> Query:
        """Users [Q] of the World as of a time, with their friends."""
        return self.with_friends(query_as_of(self.world, users, as_of))

    def with_friends(self, query: Query) -> Query:
        """A query of the World's users with their friends, as of its time.

        Where the model reads request times and the query has them, friends are known until then.
        """
        request_times = query.request_times if self.config.model.request_time else None
        query_times = query.query_times if request_times is None else request_times
        sampler = self.friend_sampler
        if sampler is not None:
            sampler = sampler.until(self.world.history_ends(query.as_of))
        return dataclasses.replace(query, query_times=query_times, friend_sampler=sampler)

    def states(self, query: Query) -> np.ndarray:
        """The state [Q, D] of each query, see `Encoder.states`."""
        return self.encoder.states(self.variables, query, self.world.first_time)

    def catalogue_with(self, texts: np.ndarray) -> jax.Array:
        """The item vectors [V, D] with other fixed vectors [V, F], on all devices."""
        # A model without fixed vectors has no such variables.
        if not texts.shape[1]:
            return self.catalogue
        known = parallel.on_host(self.variables["fixed"]["items"]["known"])
        variables = self.variables | padded_fixed(texts, known, self.encoder.model)
        return self.encoder.catalogue(parallel.replicate(variables), self.world.num_items)

    def index_inputs(self, as_of: AsOf = NOW):
        """What the index scores with, on the devices.

        The catalogue [V, D], and the scores [V] that users without history get.
        """
        return self._inputs_now if as_of.is_now else self._index_inputs(as_of)

    @functools.cached_property
    def _inputs_now(self):
        # A service answers many small queries as of now, and the events of all users are counted.
        return self._index_inputs(NOW)

    def _index_inputs(self, as_of: AsOf):
        return self.index.place((self.catalogue, self.popularity(as_of)))

    @functools.cached_property
    def shared_terms(self) -> SharedTerms:
        """The terms of the items, which a service reads for the reasons of each request."""
        return SharedTerms.of(self.world.items)

    def popularity(self, as_of: AsOf = NOW) -> np.ndarray:
        """The scores [V] that users without history get."""
        history_ends = self.world.history_ends(as_of)
        return recent_popularity(self.world.events, history_ends, self.world.num_items)

    def recommend(
        self,
        query: Query,
        *,
        k: int = 10,
        repeats: bool = False,
        allowed: np.ndarray | None = None,
    ) -> Iterator[Recommendations]:
        """The k best items of each query [Q], in chunks that together cover all queries in order.

        repeats: items of the history may be recommended. allowed [V] bool: only these items.
        Raises UsageError when k is larger than the catalogue.
        """
        V = self.world.num_items
        if not 1 <= k <= V:
            raise UsageError(f"k is {k}, the catalogue has {V} items: choose 1..{V}")
        # Once for all parts: popularity counts the events of all users.
        inputs = self.index_inputs(query.as_of)
        for begin in range(0, len(query), _QUERIES_AT_ONCE):
            part = query.part(slice(begin, begin + _QUERIES_AT_ONCE))
            yield from self._recommend_part(inputs, part, k, repeats, allowed)

    def _recommend_part(
        self, inputs, query: Query, k: int, repeats: bool, allowed: np.ndarray | None
    ) -> Iterator[Recommendations]:
        request = CandidateRequest(
            inputs,
            self.states(query),
            query,
            seen=query.events.histories(query.users, query.history_ends),
            allowed=allowed,
            counted=~self.world.deleted_items,
            repeats=repeats,
            k=k,
        )
        # Lists come in chunks of the ranker's or the index's size.
        done = 0
        for ranked in self.ranked(request):
            part = query.part(slice(done, done + len(ranked.items)))
            done += len(part)
            # The ranker orders more candidates than are recommended.
            yield Recommendations(
                users=part.users,
                items=ranked.items[:, :k],
                scores=ranked.scores[:, :k],
                type_probabilities=ranked.probabilities[:, :k],
                sources=ranked.sources[:, :k],
            )

    def ranked(self, request: CandidateRequest) -> Iterator[RankedLists]:
        """Candidates in order for the queries of a request, in chunks."""
        if self.reranker is not None:
            yield from self.reranker.lists(request)
            return
        found = self.index.top(
            request.inputs,
            request.states,
            request.seen,
            request.k,
            request.allowed,
            counted=request.counted,
            repeats=request.repeats,
        )
        done = 0
        for top in found:
            end = done + len(top.items)
            yield self._retrieved(request.states[done:end], request.seen.part(done, end), top)
            done = end

    def _retrieved(self, states: np.ndarray, seen: Pairs, top: TopItems) -> RankedLists:
        """The retriever's order."""
        V = self.world.num_items
        totals = totals_of(top.items, top.scores, top.log_totals, seen, V)
        item_probabilities = np.exp(top.scores - totals)
        probabilities = item_probabilities[..., None] * self.type_shares(states, top.items)
        # A state of zeros is a user without history, for whom the index scores by popularity.
        unknown = ~states.any(axis=1, keepdims=True)
        sources = np.broadcast_to(np.where(unknown, POPULAR, 0), top.items.shape)
        return RankedLists(top.items, top.scores, probabilities, sources)

    def next_actions(self, states: np.ndarray, query: Query) -> np.ndarray:
        """Probabilities [Q, A] that each user's next event is of each type, on any item.

        The geometric mean of the model's and of those that counts give: each alone is worse
        (docs/results/accuracy.md).
        """
        modelled = map_in_chunks(self.encoder.actions, self.variables, states, _STATES_AT_ONCE)
        if self.reranker is None:
            return modelled
        # The small term keeps the logarithm finite.
        regression = self.reranker.generator.features.next_type
        counted = regression.probabilities(query)
        return softmax((np.log(modelled + 1e-12) + np.log(counted + 1e-12)) / 2, axis=-1)

    def type_shares(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How each user would act on each item if it came next [q, k, A]."""
        # A single type needs no model.
        if self.model.num_event_types == 1:
            return np.ones((*items.shape, 1), np.float32)
        # Pairs of user and item, so that the compiled size depends neither on q nor on k.
        pairs = np.repeat(states, items.shape[1], axis=0), items.reshape(-1)
        shares = map_in_chunks(self.encoder.types, self.variables, pairs, _PAIRS_AT_ONCE)
        return shares.reshape(*items.shape, -1)
