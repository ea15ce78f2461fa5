"""A trained run as an object that recommends: the same features, model and index that evaluation
judged.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from scipy.special import softmax

from socialrec_jax.config import Config
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.ranker_features import Query, RankerFeatures
from socialrec_jax.data.world import NOW, TEST, Events, World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.candidates import POPULAR, CandidateGenerator
from socialrec_jax.inference.encoder import Trees, encoder_of
from socialrec_jax.inference.explain import reasons
from socialrec_jax.inference.index import bucket, fits_whole, retrieval_index
from socialrec_jax.inference.load import focus_of, load_run
from socialrec_jax.inference.reranker import RankedLists, Reranker
from socialrec_jax.models.recommender import RecommenderModel, fixed_variables
from socialrec_jax.runtime import parallel

_USERS_AT_ONCE = 65536  # encoded together: bounds memory whatever the number of users


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The best items of q users, best first."""

    users: np.ndarray  # [q] int64
    items: np.ndarray  # [q, k] int32
    scores: np.ndarray  # [q, k] float32 logits; -inf where fewer than k items could be recommended
    type_probabilities: np.ndarray  # [q, k, A] that the next event is of this type and on this item
    sources: np.ndarray  # [q, k] index into ranking.SOURCES: who named the item first
    reasons: (
        np.ndarray
    )  # [q, k] int32, the recent event's item that is most like the recommended one, -1 without

    @property
    def exists(self) -> np.ndarray:
        return np.isfinite(self.scores)


class Recommender:
    """Recommends from a World with trained parameters; `load` opens a run directory."""

    variables: dict  # of the retriever
    catalogue: jax.Array  # [V, D]
    reranker: Reranker | None = None  # without one the retriever's order stands

    def __init__(
        self, world: World, config: Config, model: RecommenderModel, texts: np.ndarray | None = None
    ):
        """texts [V, F]: the items' fixed vectors, for models that know them."""
        self.world, self.config, self.model = world, config, model
        self.texts = np.zeros((world.num_items, 0), np.float32) if texts is None else texts
        self.encoder = encoder_of(model, config)  # pyright: ignore[reportArgumentType] - Flax hashes modules
        sharded = not fits_whole(world.num_items, config.model.width)
        self.index = retrieval_index(config.model.temperature, world.num_items, sharded)

    @classmethod
    def load(cls, run: Path, as_of: int | str = NOW) -> Recommender:
        """The run's model for questions as of some time. Raises InputMissing, BadData or DiskError
        when it is damaged.

        Now is answered by the model that learnt from all events, if the run has one; anything
        earlier by the one that was judged, which has not seen what came later.
        """
        loaded = load_run(run, refitted=as_of == NOW)
        recommender = cls(loaded.world, loaded.config, loaded.model, loaded.texts)
        recommender.use(loaded.params, loaded.known)
        if loaded.ranker is not None and loaded.features is not None:
            recommender.rank_with(loaded.features, loaded.ranker)
        return recommender

    def use(self, params: dict, known: np.ndarray | None = None) -> Recommender:
        """Recommend with these parameters from now on; what is compiled stays.

        known [V]: items whose ids were learnt; all of them by default.
        """
        known = np.ones(self.world.num_items, bool) if known is None else known
        self.variables = parallel.replicate({"params": params} | fixed_variables(self.texts, known))
        self.catalogue = self.encoder.catalogue(self.variables)
        return self

    def rank_with(self, features: RankerFeatures, params: dict) -> Recommender:
        """Order candidates by the ranker with these parameters from now on."""
        focus = focus_of(self.config, self.world)
        self.reranker = Reranker(
            self.candidates_by(features), params, self.model.num_event_types, focus
        )
        return self

    def candidates_by(self, features: RankerFeatures) -> CandidateGenerator:
        """Candidates around the present retriever."""
        return CandidateGenerator(
            self.index, features, self.catalogue, self.texts, self.config.model.temperature
        )

    def shared(self, as_of: int | str = NOW):
        """What the index scores with: the catalogue, and the scores [V] that users without history
        get.
        """
        fallback = recent_popularity(
            self.world.events, self.world.history_ends(as_of), self.world.num_items
        )
        return self.index.place((self.catalogue, fallback))

    def states(
        self,
        events: Events,
        users: np.ndarray,
        history_ends: np.ndarray,
        query: np.ndarray | None = None,
        *,
        query_times: np.ndarray | None = None,
        as_of: int | str = NOW,
    ) -> np.ndarray:
        """The state [Q, D] of each query, see `Encoder.states`.

        moments [Q]: unix seconds before which friends' deeds and friendships may be known, besides
        what as_of hides of everybody. Whoever the World does not know (events are not its own) has
        no friends. Raises ValueError when a model with friends is asked for users of the World
        without moments.
        """
        trees = None
        if self.model.num_users and events is self.world.events:
            if query_times is None:
                raise ValueError("this model knows friends: say up to which moments with moments=")
            trees = self._trees(users, query_times, as_of)
        return self.encoder.states(
            self.variables, events, users, history_ends, self.world.first_time, query, trees
        )

    def query(self, events: Events, users, history_ends, query_times, as_of: int | str) -> Query:
        """What the ranker's signals may look at."""
        has_friends = (
            events is self.world.events and len(self.world.friends.ids) and query_times is not None
        )
        friend_sampler = self._friend_sampler(as_of) if has_friends else None
        return Query(
            events,
            users,
            history_ends,
            np.zeros(len(users), np.int64) if query_times is None else query_times,
            friend_sampler,
        )

    def _trees(self, users: np.ndarray, query_times: np.ndarray, as_of: int | str) -> Trees:
        friend_sampler = self._friend_sampler(as_of)

        def trees(chosen: np.ndarray):
            return friend_sampler.sample(
                np.where(chosen < 0, -1, users[chosen]), query_times[chosen]
            )

        return trees

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a few columns of users, as long as the recommender lives
    def _friend_sampler(self, as_of: int | str) -> FriendSampler:
        if as_of == NOW:
            return FriendSampler(
                self.world.events,
                self.world.friends,
                self.world.history_ends(),
                seed=self.config.seed,
            )
        return self._friend_sampler(NOW).until(self.world.history_ends(as_of))

    def recommend(
        self,
        users: np.ndarray,
        *,
        k: int = 10,
        as_of: int | str = NOW,
        events: Events | None = None,
        repeats: bool = False,
        allowed: np.ndarray | None = None,
    ) -> Iterator[Recommendations]:
        """The k best items for users [Q], in chunks that together cover all users in order.

        as_of: see `World.ends`; events: histories of users that the World does not know, then users
        index them; repeats: items of the history may be recommended; allowed [V] bool: only these.
        Raises UsageError when k is larger than the catalogue.
        """
        if not 1 <= k <= self.world.num_items:
            raise UsageError(
                f"k is {k}, the catalogue has {self.world.num_items} items: choose 1..{self.world.num_items}"
            )
        shared = self.shared(as_of)
        history_ends = self.world.history_ends(as_of) if events is None else events.offsets[1:]
        query_times = self.world.query_times(as_of) if events is None else None
        events = self.world.events if events is None else events
        for begin in range(0, len(users), _USERS_AT_ONCE):
            some = users[begin : begin + _USERS_AT_ONCE]
            query = np.full(len(some), as_of) if isinstance(as_of, int) and as_of > TEST else None
            known = None if query_times is None else query_times[some]
            states = self.states(
                events, some, history_ends[some], query, query_times=known, as_of=as_of
            )
            query = self.query(events, some, history_ends[some], known, as_of)
            yield from self._recommend_some(shared, states, query, k, repeats, allowed)

    def _recommend_some(
        self, shared, states, query: Query, k, repeats, allowed
    ) -> Iterator[Recommendations]:
        seen_ends = query.events.offsets[query.users] if repeats else query.history_ends
        seen = query.events.histories(query.users, seen_ends)
        done = 0
        for ranked in self.ranked(shared, states, query, seen, allowed, k):
            part = query.part(done, done + len(ranked.items))
            done += len(ranked.items)
            items = ranked.items[:, :k]
            yield Recommendations(
                users=part.users,
                items=items,
                scores=ranked.scores[:, :k],
                type_probabilities=ranked.probabilities[:, :k],
                sources=ranked.sources[:, :k],
                reasons=reasons(
                    np.asarray(self.catalogue), part.events, part.users, part.history_ends, items
                ),
            )

    def ranked(
        self,
        shared,
        states: np.ndarray,
        query: Query,
        seen: Pairs,
        allowed: np.ndarray | None = None,
        k: int = 0,
    ) -> Iterator[RankedLists]:
        """Candidates in their order for users [Q] with states [Q, D], in chunks; at least k, where
        there are.
        """
        if self.reranker is not None:
            yield from self.reranker.lists(shared, states, query, seen, allowed, k)
            return
        done = 0
        for items, scores, log_total in self.index.top(shared, states, seen, k, allowed):
            some = states[done : done + len(items)]
            done += len(items)
            probabilities = np.exp(scores - log_total[:, None])[..., None] * self._type_shares(
                some, items
            )
            unknown = ~some.any(axis=1, keepdims=True)
            yield RankedLists(
                items,
                scores,
                probabilities,
                np.broadcast_to(np.where(unknown, POPULAR, 0), items.shape),
            )

    def next_actions(self, states: np.ndarray, query: Query) -> np.ndarray:
        """Chances [Q, A] that each user's next event is of each type, whatever it is with.

        The geometric mean of the model's and those that counts give: either alone is worse
        (docs/results.md).
        """
        pad = bucket(len(states), 1) - len(states)
        probabilities = np.asarray(
            self.encoder.actions(self.variables, np.pad(states, ((0, pad), (0, 0))))
        )[: len(states)]
        if self.reranker is None:
            return probabilities
        counted = self.reranker.generator.features.next_type.probabilities(
            query.events, query.users, query.history_ends
        )
        return softmax((np.log(probabilities + 1e-12) + np.log(counted + 1e-12)) / 2, axis=1)

    def _type_shares(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How each user would act on each item if it came next [q, k, A]."""
        if self.model.num_event_types == 1:
            return np.ones((*items.shape, 1), np.float32)
        pad = bucket(len(states), parallel.num_local_devices()) - len(states)
        states = np.repeat(np.pad(states, ((0, pad), (0, 0)))[:, None], items.shape[1], axis=1)
        parts = parallel.split_over_devices((states, np.pad(items, ((0, pad), (0, 0)))))
        return parallel.join_devices(self.encoder.types(self.variables, parts))[: len(items)]
