"""What a good engineer would try first: popular, recently popular, items bought together, what
like-minded users had.

Everything is counted from the training part. The few settings are chosen on validation NDCG@10, as
the model's are, so that a model that wins has won against a baseline at its best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import ranges
from socialrec_jax.data.features.friend_events import FriendEvents, friends_had
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.recent_items import top_k_sparse
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events, World

_CHOICES = {
    "reverse": (1.0, 0.6, 0.3),
    "damping": (0.5, 0.4, 0.3),
    "history_decay": (0.8, 0.6, 0.9),
    "window": (10, 20, 3),
    "distance_decay": (0.9, 0.7, 0.8),
}


def tune_item_knn(
    events: Events, history_ends: np.ndarray, num_items: int, validate: Callable[[ItemKNN], float]
) -> tuple[ItemKNN, ItemKNNSettings]:
    """The settings that validate best, one after another from the plain cosine on."""
    best = ItemKNNSettings()
    chosen = ItemKNN.fit(events, history_ends, num_items, best)
    value = validate(chosen)
    for name, choices in _CHOICES.items():
        for settings in [dataclasses.replace(best, **{name: choice}) for choice in choices[1:]]:
            candidate = ItemKNN.fit(events, history_ends, num_items, settings)
            if (candidate_value := validate(candidate)) > value:
                best, chosen, value = settings, candidate, candidate_value
    return chosen, best


@dataclasses.dataclass(frozen=True)
class UserKNNSettings:
    neighbours: int = 100
    likeness: float = 0.0
    friendship: float = 0.0


@dataclasses.dataclass(frozen=True)
class UserKNN:
    """User-kNN with friends: what the most similar users had, and what friends had before the
    moment.

    score(u, i) = sum over the k users v nearest by cosine of what they had, cos(u, v) [v had i],
    plus over friends f (likeness * cos(u, f) + friendship) * weight(f) [f had i].
    """

    histories: sparse.csr_array  # [U, V] rows of length 1
    num_items: int
    friend_sampler: FriendSampler | None
    settings: UserKNNSettings

    @classmethod
    def fit(cls, world: World, history_ends: np.ndarray) -> UserKNN:
        """Count the rows before ends [U]."""
        users = np.arange(world.num_users)
        friend_sampler = (
            FriendSampler(world.events, world.friends, history_ends)
            if len(world.friends.ids)
            else None
        )
        histories = _histories(world.events, users, history_ends, world.num_items)
        return cls(histories, world.num_items, friend_sampler, UserKNNSettings())

    def scores(self, query: Query) -> np.ndarray:
        """Scores [q, V] float32 of queries."""
        users = query.users
        num_users, num_items = len(self.histories.indptr) - 1, self.num_items
        s = self.settings
        own = _histories(query.events, users, query.history_ends, num_items)
        similar = sparse.csr_array(own @ self.histories.T)
        similar.data[similar.indices == np.repeat(users, np.diff(similar.indptr))] = 0
        who, likeness = top_k_sparse(similar, min(s.neighbours, num_users))
        row = np.repeat(np.arange(len(users)), np.sum(who >= 0, axis=1))
        nearest = sparse.csr_array(
            (likeness[who >= 0], (row, who[who >= 0])), (len(users), num_users)
        )
        scores = sparse.csr_array(nearest @ self.histories).toarray()
        if self.friend_sampler and (s.likeness or s.friendship):
            friend_events = FriendEvents.before(self.friend_sampler, users, query.query_times)
            histories = query.events.histories(users, query.history_ends)
            friends, _, alike = friends_had(histories, friend_events, num_items)
            scores = scores + s.friendship * friends + s.likeness * alike
        return scores


def _histories(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_items: int
) -> sparse.csr_array:
    """What users had before rows ends [q], as rows [q, V] of length 1."""
    lengths = history_ends - events.offsets[users]
    items = events.items[ranges(events.offsets[users], lengths)]
    row = np.repeat(np.arange(len(users)), lengths)
    had = sparse.csr_array((np.ones(len(items), np.float32), (row, items)), (len(users), num_items))
    had.data[:] = 1
    scale = 1 / np.sqrt(np.maximum(np.diff(had.indptr), 1))
    return sparse.csr_array(sparse.diags_array(scale.astype(np.float32)) @ had)


_NEIGHBOUR_CHOICES = {
    "neighbours": (100, 30, 300),
    "likeness": (0.0, 1.0, 5.0),
    "friendship": (0.0, 0.01, 0.05, 0.2),
}


def tune_user_knn(
    world: World, history_ends: np.ndarray, validate: Callable[[UserKNN], float]
) -> UserKNN:
    """The settings that validate best, one after another."""
    best = UserKNN.fit(world, history_ends)
    value = validate(best)
    for name, choices in _NEIGHBOUR_CHOICES.items():
        for choice in choices[1:] if name == "neighbours" or best.friend_sampler else ():
            candidate = dataclasses.replace(
                best, settings=dataclasses.replace(best.settings, **{name: choice})
            )
            if (candidate_value := validate(candidate)) > value:
                best, value = candidate, candidate_value
    return best


def popular(events: Events, history_ends: np.ndarray, num_items: int) -> np.ndarray:
    """Visible events of each item [V] float32."""
    visible = np.arange(len(events.items)) < history_ends[events.owners]
    return np.bincount(events.items[visible], minlength=num_items).astype(np.float32)


def tune_recently_popular(
    events: Events,
    history_ends: np.ndarray,
    num_items: int,
    validate: Callable[[np.ndarray], float],
) -> np.ndarray:
    """Decayed popularity [V] with the half-life, as a share of the time span, that validates
    best.
    """
    candidates = [
        recent_popularity(events, history_ends, num_items, share) for share in (0.05, 0.01, 0.2)
    ]
    return max(candidates, key=validate)
