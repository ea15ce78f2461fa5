"""Baselines: popular, recently popular, item-kNN, user-kNN with friends.

They are counted from the training part. Their few settings are chosen on validation NDCG@10, as the
model's are, so that a model that wins has won against a baseline at its best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.friend_events import FriendEvents, friends_had
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.sparse_rows import rows_of_similar_length, top_k_sparse
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events, World

# The first choice is where tuning starts.
_ITEM_KNN_CHOICES = {
    "reverse": (1.0, 0.6, 0.3),
    "damping": (0.5, 0.4, 0.3),
    "history_decay": (0.8, 0.6, 0.9),
    "window": (10, 20, 3),
    "distance_decay": (0.9, 0.7, 0.8),
}
_USER_KNN_CHOICES = {
    "neighbours": (100, 30, 300),
    "similarity_weight": (0.0, 1.0, 5.0),
    "friend_weight": (0.0, 0.01, 0.05, 0.2),
}
_HALF_LIVES = (0.05, 0.01, 0.2)  # of recent popularity, as shares of the time span
_SIMILARITIES_AT_ONCE = 1 << 22  # between users: bounds memory


def tune_item_knn(
    events: Events, history_ends: np.ndarray, num_items: int, validate: Callable[[ItemKNN], float]
) -> tuple[ItemKNN, ItemKNNSettings]:
    """The settings that validate best, tried one after another from the plain cosine on."""
    best_settings = ItemKNNSettings()
    best = ItemKNN.fit(events, history_ends, num_items, best_settings)
    best_value = validate(best)

    for name, choices in _ITEM_KNN_CHOICES.items():
        # All choices of one setting are tried with the others as they were before it.
        before = best
        tried = [dataclasses.replace(best_settings, **{name: choice}) for choice in choices[1:]]
        for settings in tried:
            if name == "history_decay":  # no pair is counted by it
                candidate = dataclasses.replace(before, history_decay=settings.history_decay)
            else:
                candidate = ItemKNN.fit(events, history_ends, num_items, settings)
            value = validate(candidate)
            if value > best_value:
                best_settings, best, best_value = settings, candidate, value

    return best, best_settings


@dataclasses.dataclass(frozen=True)
class UserKNNSettings:
    neighbours: int = 100
    similarity_weight: float = 0.0  # of a friend's items, times the similarity of the friend
    friend_weight: float = 0.0  # of a friend's items, whoever the friend is


@dataclasses.dataclass(frozen=True)
class UserKNN:
    """User-kNN with friends: items of the most similar users, and of friends before the query time.

    score(u, i) = sum over the k users v nearest by cosine of cos(u, v) * histories[v, i]
                + sum over friends f who had i of
                  (similarity_weight * cos(u, f) + friend_weight) * weight(f).
    """

    histories: sparse.csr_array  # [U, V] rows of length 1
    users_of_items: sparse.csr_array  # [V, U] the same by item
    friend_sampler: FriendSampler | None
    settings: UserKNNSettings

    @classmethod
    def fit(cls, world: World, history_ends: np.ndarray) -> UserKNN:
        """Count the rows before history_ends [U]."""
        users = np.arange(world.num_users)
        pairs = world.events.histories(users, history_ends)
        histories = _unit_rows(pairs, world.num_items)
        friend_sampler = None  # friends are no part of it where the World has none
        if len(world.friends.ids):
            friend_sampler = FriendSampler(world.events, world.friends, history_ends)
        users_of_items = sparse.csr_array(histories.T)
        return cls(histories, users_of_items, friend_sampler, UserKNNSettings())

    @property
    def num_items(self) -> int:
        return len(self.users_of_items.indptr) - 1

    def scores(self, query: Query) -> sparse.csr_array:
        """Scores [q, V] float32 of queries [q]; no entry is a score of 0."""
        # What the nearest users had, weighted by their similarity.
        scores = sparse.csr_array(self._nearest(query) @ self.histories)
        s = self.settings
        if self.friend_sampler is None or not (s.similarity_weight or s.friend_weight):
            return scores

        friend_events = FriendEvents.before(query, self.friend_sampler)
        histories = query.events.histories(query.users, query.history_ends)
        friends = friends_had(histories, friend_events, self.num_items)
        weighted = s.friend_weight * friends.number + s.similarity_weight * friends.similarity
        return sparse.csr_array(scores + friends.matrix(weighted, self.num_items))

    def _nearest(self, query: Query) -> sparse.csr_array:
        """Cosines [q, U] with the nearest users, 0 with all others."""
        pairs = query.events.histories(query.users, query.history_ends)
        own = _unit_rows(pairs, self.num_items)
        k = min(self.settings.neighbours, len(self.histories.indptr) - 1)
        neighbours = np.empty((len(query), k), np.int32)
        values = np.empty((len(query), k), np.float32)
        for rows in self._rows_of_similar_cost(own):
            similar = self._similar_users(own[rows], query.users[rows])
            neighbours[rows], values[rows] = top_k_sparse(similar, k)

        exists = neighbours >= 0  # users with few similar ones have less than k
        offsets = np.concatenate([[0], np.cumsum(exists.sum(axis=1))])
        shape = (len(query), len(self.histories.indptr) - 1)
        return sparse.csr_array((values[exists], neighbours[exists], offsets), shape)

    def _rows_of_similar_cost(self, own: sparse.csr_array) -> Iterator[np.ndarray]:
        """All rows of own histories [q, V], some at a time, so that what they share with other
        users fits in memory.
        """
        num_users = np.diff(self.users_of_items.indptr)  # of each item
        running = np.concatenate([[0], np.cumsum(num_users[own.indices])])
        cost = running[own.indptr[1:]] - running[own.indptr[:-1]]
        return rows_of_similar_length(cost, _SIMILARITIES_AT_ONCE)

    def _similar_users(self, own: sparse.csr_array, users: np.ndarray) -> sparse.csr_array:
        """Cosines [q, U] of own histories [q, V] of users [q] with those of all others."""
        similarity = sparse.csr_array(own @ self.users_of_items)
        # Nobody is a neighbour of themselves.
        user_of_value = np.repeat(users, np.diff(similarity.indptr))
        similarity.data[similarity.indices == user_of_value] = 0
        return similarity


def _unit_rows(histories: Pairs, num_items: int) -> sparse.csr_array:
    """The items that users [q] had, as rows [q, V] of length 1."""
    ones = np.ones(len(histories.items), np.float32)
    shape = (len(histories.offsets) - 1, num_items)
    had = sparse.csr_array((ones, histories.items, histories.offsets), shape)
    had.sum_duplicates()
    had.data[:] = 1  # an item that a user had twice was added up

    items_per_user = np.maximum(np.diff(had.indptr), 1)
    scale = (1 / np.sqrt(items_per_user)).astype(np.float32)
    return sparse.csr_array(sparse.diags_array(scale) @ had)


def tune_user_knn(
    world: World, history_ends: np.ndarray, validate: Callable[[UserKNN], float]
) -> UserKNN:
    """The settings that validate best, tried one after another."""
    best = UserKNN.fit(world, history_ends)
    best_value = validate(best)

    for name, choices in _USER_KNN_CHOICES.items():
        # Without friends, their weights change nothing.
        if name != "neighbours" and not best.friend_sampler:
            continue
        for choice in choices[1:]:
            settings = dataclasses.replace(best.settings, **{name: choice})
            candidate = dataclasses.replace(best, settings=settings)
            value = validate(candidate)
            if value > best_value:
                best, best_value = candidate, value

    return best


def popular(events: Events, history_ends: np.ndarray, num_items: int) -> np.ndarray:
    """Visible events of each item [V] float32."""
    visible = events.items[events.visible(history_ends)]
    counts = np.bincount(visible, minlength=num_items)
    return counts.astype(np.float32)


def tune_recently_popular(
    events: Events,
    history_ends: np.ndarray,
    num_items: int,
    validate: Callable[[np.ndarray], float],
) -> np.ndarray:
    """Decayed popularity [V] with the half-life that validates best."""
    candidates = [
        recent_popularity(events, history_ends, num_items, share) for share in _HALF_LIVES
    ]
    return max(candidates, key=validate)
