"""A trained run as an object that recommends: the same features, model and index that evaluation judged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from socialrec_jax import parallel
from socialrec_jax.config import Config
from socialrec_jax.data.neighbours import Neighbourhood
from socialrec_jax.data.popularity import recent_popularity
from socialrec_jax.data.world import NOW, TEST, Events, World
from socialrec_jax.errors import UsageError
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.serving.encoder import Encoder, Trees
from socialrec_jax.serving.index import Index, Pairs, with_fallback
from socialrec_jax.serving.load import load_run

_USERS_AT_ONCE = 65536  # encoded together: bounds memory whatever the number of users
_REASON_EVENTS = 10  # recent events that may be named as the reason


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The best items of q users, best first."""

    users: np.ndarray  # [q] int64
    items: np.ndarray  # [q, k] int32
    scores: np.ndarray  # [q, k] float32 logits; -inf where fewer than k items could be recommended
    type_probabilities: np.ndarray  # [q, k, A] that the next event is of this type and on this item
    from_history: np.ndarray  # [q] bool, False for users without events, who get what is popular
    reasons: np.ndarray  # [q, k] int32, the recent event's item that is most like the recommended one, -1 without

    @property
    def exists(self) -> np.ndarray:
        return np.isfinite(self.scores)


class Recommender:
    """Recommends from a World with trained parameters; `load` opens a run directory."""

    params: dict
    catalogue: jax.Array  # [V, D]

    def __init__(self, world: World, config: Config, model: RecommenderModel):
        self.world, self.config, self.model = world, config, model
        self.encoder = Encoder(model, config)
        self.index = Index(with_fallback(config.model.temperature), world.num_items)
        self._types = parallel.map_devices(
            lambda params, part: jax.nn.softmax(model.bind({"params": params}).type_logits(*part))
        )

    @classmethod
    def load(cls, run: Path) -> Recommender:
        """The run's best model. Raises InputMissing, BadData or DiskError when the run is not whole."""
        world, config, model, params = load_run(run)
        return cls(world, config, model).use(params)

    def use(self, params: dict) -> Recommender:
        """Recommend with these parameters from now on; what is compiled stays."""
        self.params = parallel.replicate(params)
        self.catalogue = self.encoder.catalogue(self.params)
        return self

    def shared(self, as_of: int | str = NOW):
        """What the index scores with: the catalogue, and the scores [V] that users without history get."""
        fallback = recent_popularity(self.world.events, self.world.ends(as_of), self.world.num_items)
        return parallel.replicate((self.catalogue, fallback))

    def states(
        self,
        events: Events,
        users: np.ndarray,
        ends: np.ndarray,
        asked: np.ndarray | None = None,
        *,
        moments: np.ndarray | None = None,
        as_of: int | str = NOW,
    ) -> np.ndarray:
        """The state [Q, D] of each query, see `Encoder.states`.

        moments [Q]: unix seconds before which friends' deeds and friendships may be known, besides what as_of hides
        of everybody. Whoever the World does not know (events are not its own) has no friends. Raises ValueError when
        a model with friends is asked for users of the World without moments.
        """
        trees = None
        if self.model.num_users and events is self.world.events:
            if moments is None:
                raise ValueError("this model knows friends: say up to which moments with moments=")
            trees = self._trees(users, moments, as_of)
        return self.encoder.states(self.params, events, users, ends, self.world.first_time, asked, trees)

    def _trees(self, users: np.ndarray, moments: np.ndarray, as_of: int | str) -> Trees:
        neighbourhood = self._neighbourhood(as_of)

        def trees(chosen: np.ndarray):
            return neighbourhood.sample(np.where(chosen < 0, -1, users[chosen]), moments[chosen])

        return trees

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a few columns of users, as long as the recommender lives
    def _neighbourhood(self, as_of: int | str) -> Neighbourhood:
        if as_of == NOW:
            return Neighbourhood(self.world.events, self.world.friends, self.world.ends(), seed=self.config.seed)
        return self._neighbourhood(NOW).until(self.world.ends(as_of))

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

        as_of: see `World.ends`; events: histories of users that the World does not know, then users index them;
        repeats: items of the history may be recommended; allowed [V] bool: only these. Raises UsageError when k is
        larger than the catalogue.
        """
        if not 1 <= k <= self.world.num_items:
            raise UsageError(
                f"k is {k}, the catalogue has {self.world.num_items} items: choose 1..{self.world.num_items}"
            )
        shared = self.shared(as_of)
        ends = self.world.ends(as_of) if events is None else events.offsets[1:]
        moments = self.world.moments(as_of) if events is None else None
        events = self.world.events if events is None else events
        for begin in range(0, len(users), _USERS_AT_ONCE):
            some = users[begin : begin + _USERS_AT_ONCE]
            asked = np.full(len(some), as_of) if isinstance(as_of, int) and as_of > TEST else None
            known = None if moments is None else moments[some]
            states = self.states(events, some, ends[some], asked, moments=known, as_of=as_of)
            yield from self._recommend_some(shared, states, events, some, ends[some], k, repeats, allowed)

    def _recommend_some(self, shared, states, events, users, ends, k, repeats, allowed) -> Iterator[Recommendations]:
        seen_ends = events.offsets[users] if repeats else ends
        seen = Pairs.history(events, users, seen_ends)
        done = 0
        for items, scores, log_total in self.index.top(shared, states, seen, k, allowed):
            at = slice(done, done + len(items))
            done += len(items)
            chance = np.exp(scores - log_total[:, None])
            yield Recommendations(
                users=users[at],
                items=items,
                scores=scores,
                type_probabilities=chance[..., None] * self._type_shares(states[at], items),
                from_history=ends[at] > events.offsets[users[at]],
                reasons=self._reasons(events, users[at], ends[at], items),
            )

    def _type_shares(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How each user would act on each item if it came next [q, k, A]."""
        if self.model.num_event_types == 1:
            return np.ones((*items.shape, 1), np.float32)
        pad = -len(states) % parallel.num_local_devices()
        states = np.repeat(np.pad(states, ((0, pad), (0, 0)))[:, None], items.shape[1], axis=1)
        parts = parallel.split_over_devices((states, np.pad(items, ((0, pad), (0, 0)))))
        return parallel.join_devices(self._types(self.params, parts))[: len(items)]

    def _reasons(self, events: Events, users: np.ndarray, ends: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The recent item of each user's history that is most like each recommended item [q, k]."""
        recent = ends[:, None] - 1 - np.arange(_REASON_EVENTS)[None]
        valid = np.asarray(recent >= events.offsets[users][:, None])
        recent_items = (
            events.items[np.where(valid, recent, 0)] if len(events.items) else np.zeros(recent.shape, np.int32)
        )
        vectors = np.asarray(self.catalogue)
        likeness = vectors[items] @ vectors[recent_items].swapaxes(1, 2)
        best = np.where(valid[:, None], likeness, -np.inf).argmax(-1)
        return np.where(np.any(valid, -1)[:, None], np.take_along_axis(recent_items, best, 1), -1)
