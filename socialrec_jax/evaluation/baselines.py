"""Baselines: popular, recently popular, item-kNN, user-kNN with friends.

They are counted from the training part. Their few settings are chosen on validation NDCG@10, as the
model's are, so that a model that wins has won against a baseline at its best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.features.friend_events import FriendEvents, friends_had
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events, World
from socialrec_jax.evaluation.similar_users import (
    NeighbourSearch,
    RememberedNeighbours,
    SimilarUsers,
)

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


def tune_item_knn(
    fit: Callable[[ItemKNNSettings], ItemKNN], validate: Callable[[ItemKNN], float]
) -> ItemKNNSettings:
    """The settings that validate best, tried one after another from the plain cosine on."""
    best_settings = ItemKNNSettings()
    best = fit(best_settings)
    best_value = validate(best)

    for name, choices in _ITEM_KNN_CHOICES.items():
        # All choices of one setting are tried with the others as they were before it.
        before = best
        tried = [dataclasses.replace(best_settings, **{name: choice}) for choice in choices[1:]]
        for settings in tried:
            if name == "history_decay":  # no pair is counted by it
                candidate = dataclasses.replace(before, history_decay=settings.history_decay)
            else:
                candidate = fit(settings)
            value = validate(candidate)
            if value > best_value:
                best_settings, best, best_value = settings, candidate, value

    return best_settings


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

    similar_users: SimilarUsers
    search: NeighbourSearch  # similar_users, or what remembers its neighbours
    friend_sampler: FriendSampler | None
    settings: UserKNNSettings

    @classmethod
    def fit(cls, world: World, history_ends: np.ndarray) -> UserKNN:
        """Count the rows before history_ends [U]."""
        similar_users = SimilarUsers.fit(world.events, history_ends, world.num_items)
        friend_sampler = None  # friends are no part of it where the World has none
        if len(world.friends.ids):
            friend_sampler = FriendSampler(world.events, world.friends, history_ends)
        return cls(similar_users, similar_users, friend_sampler, UserKNNSettings())

    def remembering(self, most: int) -> UserKNN:
        """The same, which looks for the neighbours of a query once, for all k up to `most`."""
        return dataclasses.replace(self, search=RememberedNeighbours(self.search, most))

    def scores(self, query: Query) -> sparse.csr_array:
        """Scores [q, V] float32 of queries [q]; no entry is a score of 0."""
        # What the nearest users had, weighted by their similarity.
        neighbours = self.search.nearest(query, self.settings.neighbours)
        nearest = neighbours.matrix(self.similar_users.num_users)
        scores = sparse.csr_array(nearest @ self.similar_users.histories)
        s = self.settings
        if self.friend_sampler is None or not (s.similarity_weight or s.friend_weight):
            return scores
        return sparse.csr_array(scores + self._friend_scores(query, self.friend_sampler))

    def _friend_scores(self, query: Query, friend_sampler: FriendSampler) -> sparse.csr_array:
        """Weighted scores [q, V] of what friends had."""
        s, num_items = self.settings, self.similar_users.num_items
        friend_events = FriendEvents.before(query, friend_sampler)
        histories = query.events.histories(query.users, query.history_ends)
        friends = friends_had(histories, friend_events, num_items)
        weighted = s.friend_weight * friends.number + s.similarity_weight * friends.similarity
        return friends.matrix(weighted, num_items)


def tune_user_knn(
    world: World, history_ends: np.ndarray, validate: Callable[[UserKNN], float]
) -> UserKNN:
    """The settings that validate best, tried one after another."""
    fitted = UserKNN.fit(world, history_ends)
    # No setting changes who is nearest.
    most = max(_USER_KNN_CHOICES.get("neighbours", ()), default=fitted.settings.neighbours)
    best = fitted.remembering(most)
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

    # Other queries follow, and need not be remembered.
    return dataclasses.replace(fitted, settings=best.settings)


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
