"""Features that the ranker reads for a user and a candidate, besides their vectors.

`RankerFeatures.fit` counts what is known at fit time: item-kNN similarities, popularity, and the
terms of the products' texts. It is saved beside the checkpoints, as parameters are, so that later
events do not change a score. `look_up` reads what depends on the query: the history, and the
friends' events before the query time. `compute` puts both together for the chosen candidates.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sparse

from socialrec_jax import checksums
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features import tfidf
from socialrec_jax.data.features.friend_events import FriendEvents, FriendScores, friends_had
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.next_type import NextTypeRegression
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.recent_items import recent_items
from socialrec_jax.data.features.sparse_rows import (
    entries_of,
    pairs_of,
    positions,
    top_k_sparse,
    values_at,
)
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events, World

# The columns of the feature matrix. A trained ranker depends on their order.
NAMES = (
    "item-kNN score",
    "item-kNN score above zero",
    "friends with the item",
    "recency of friends with the item",
    "similar friends with the item",
    "number of friends",
    "shared labels",
    "shared words",
    "shared words with the last item",
    "popularity",
    "recent popularity",
    "popularity trend",
    "history length",
    "retriever log-probability",
    "text similarity to recent items",
)
_MATRICES = ("together", "labels", "words")
_FILES = (*(f"{name}.npz" for name in _MATRICES), "items.npy", "actions.npz", "settings.json")
_HISTORY_DECAY = 0.8  # weight of a recent item per event that came after it


@dataclasses.dataclass(frozen=True)
class QueryFeatures:
    """What one chunk of q queries says about items, as sparse rows over the catalogue [q, V].

    Candidates are proposed from it, and their features are read from it.
    """

    item_knn_scores: sparse.csr_array  # [q, V]
    friend_scores: FriendScores | None  # None: no friend graph
    num_friends: np.ndarray  # [q]
    history: sparse.csr_array  # [q, V] weights of recent items, smaller for older ones
    last_item: sparse.csr_array  # [q, V] one at the last item
    history_lengths: np.ndarray  # [q] events


@dataclasses.dataclass(frozen=True)
class RankerFeatures:
    """Statistics of the visible events and of the product texts."""

    item_knn: ItemKNN
    labels: sparse.csr_array  # [V, W] tf-idf of tags and categories
    words: sparse.csr_array  # [V, W] tf-idf of titles and descriptions
    item_popularity: np.ndarray  # [V, 3] log count, log share of recent events, trend
    next_type: NextTypeRegression
    settings: ItemKNNSettings

    @classmethod
    def fit(
        cls, world: World, history_ends: np.ndarray, settings: ItemKNNSettings
    ) -> RankerFeatures:
        """Count the events before rows history_ends [U]. Product texts are known at any time."""
        events, num_items = world.events, world.num_items
        return cls(
            item_knn=ItemKNN.fit(events, history_ends, num_items, settings),
            labels=tfidf.label_matrix(world.items),
            words=tfidf.word_matrix(world.items),
            item_popularity=_popularity_columns(events, history_ends, num_items),
            next_type=NextTypeRegression.fit(events, history_ends, len(world.event_types)),
            settings=settings,
        )

    @property
    def num_items(self) -> int:
        return len(self.item_popularity)

    @property
    def recent_popularity(self) -> np.ndarray:
        """Log share [V] of recent events."""
        return self.item_popularity[:, 1]

    @functools.cached_property
    def _trending(self) -> np.ndarray:
        """All items [V] int32, the recently most popular first."""
        return np.argsort(-self.recent_popularity, kind="stable").astype(np.int32)

    def look_up(self, query: Query) -> QueryFeatures:
        """The part that does not depend on which candidates are chosen."""
        num_friends, friend_scores = self._look_up_friends(query)
        return QueryFeatures(
            item_knn_scores=self.item_knn.scores(query),
            friend_scores=friend_scores,
            num_friends=num_friends,
            history=recent_items(query, self.num_items, _HISTORY_DECAY),
            last_item=recent_items(query, self.num_items, _HISTORY_DECAY, num_events=1),
            history_lengths=query.history_ends - query.events.offsets[query.users],
        )

    def _look_up_friends(self, query: Query) -> tuple[np.ndarray, FriendScores | None]:
        """(number of friends [q], what they had)."""
        if query.friend_sampler is None:
            return np.zeros(len(query)), None
        friend_events = FriendEvents.before(query, query.friend_sampler)
        histories = query.events.histories(query.users, query.history_ends)
        friend_scores = friends_had(histories, friend_events, self.num_items)
        return friend_events.num_friends, friend_scores

    def proposals(
        self, query_features: QueryFeatures, per_list: dict[str, int]
    ) -> dict[str, np.ndarray]:
        """Candidate items [q, k] of each source, the best first; -1 where a list is short.

        per_list: k of each source.
        """
        neighbours, _ = top_k_sparse(query_features.item_knn_scores, per_list["bought together"])
        lists = {"bought together": neighbours}

        friend_scores = query_features.friend_scores
        if friend_scores is not None:
            recency = friend_scores.matrix(friend_scores.recency, self.num_items)
            lists["friends"], _ = top_k_sparse(recency, per_list["friends"])

        trending = self._trending[: per_list["trending"]]
        num_queries = len(query_features.history_lengths)
        lists["trending"] = np.broadcast_to(trending, (num_queries, len(trending)))
        return lists

    def compute(
        self,
        query_features: QueryFeatures,
        candidates: np.ndarray,
        retriever_log_probability: np.ndarray,
        text_similarity: np.ndarray,
    ) -> np.ndarray:
        """The features [q, C, S] float32 of candidates [q, C], in the order of NAMES.

        retriever_log_probability and text_similarity [q, C] come from dense vectors, which the
        caller multiplies on devices.
        """
        history_length = np.log1p(query_features.history_lengths)
        popularity = self.item_popularity[candidates]
        columns = [
            *self._item_knn_features(query_features, candidates),
            *self._friend_features(query_features, candidates),
            *self._term_features(query_features, candidates),
            *np.moveaxis(popularity, -1, 0),
            _for_each_candidate(history_length, candidates),
            retriever_log_probability,
            text_similarity,
        ]
        return _stacked(columns, candidates.shape)

    def _item_knn_features(
        self, query_features: QueryFeatures, candidates: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Log of the item-kNN score, and whether there is one: [q, C] each."""
        scores = query_features.item_knn_scores
        at = self._positions(candidates, entries_of(scores))
        of_candidates = values_at(scores.data, at)
        return np.log(of_candidates + 1e-4), of_candidates > 0

    def _friend_features(
        self, query_features: QueryFeatures, candidates: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Columns [q, C]: friends with the item, recency, similarity, number of friends."""
        num_friends = _for_each_candidate(np.log1p(query_features.num_friends), candidates)
        scores = query_features.friend_scores
        if scores is None:
            none = np.zeros(candidates.shape, np.float32)
            return none, none, none, num_friends
        at = self._positions(candidates, scores.entries)
        number = values_at(scores.number, at)
        recency = values_at(scores.recency, at)
        similarity = values_at(scores.similarity, at)
        return np.log1p(number), recency, similarity, num_friends

    def _positions(self, candidates: np.ndarray, among: Pairs) -> np.ndarray:
        """Where candidates [q, C] lie among the items of their query, -1 where they do not."""
        return positions(pairs_of(candidates), among, self.num_items).reshape(candidates.shape)

    def _term_features(
        self, query_features: QueryFeatures, candidates: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Similarity of candidates [q, C] to the history: labels, words, words of the last item."""
        history, last_item = query_features.history, query_features.last_item
        (labels,) = tfidf.similarities([history], self.labels, candidates)
        words, words_of_last = tfidf.similarities([history, last_item], self.words, candidates)
        return labels, words, words_of_last

    def save(self, folder: Path, made_from: dict | None = None) -> None:
        """Write to folder; the manifest comes last, so that a folder with one is complete.

        made_from: JSON that says what was counted.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / checksums.MANIFEST).unlink(missing_ok=True)
        sparse.save_npz(folder / "labels.npz", self.labels)
        sparse.save_npz(folder / "words.npz", self.words)
        sparse.save_npz(folder / "together.npz", self.item_knn.similarity)
        np.save(folder / "items.npy", self.item_popularity)
        self.next_type.save(folder / "actions.npz")
        (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(self.settings)))
        write_manifest(folder, made_from or {})

    @classmethod
    def load(cls, folder: Path) -> RankerFeatures:
        """What `save` wrote. DamagedFile where a file is not that."""
        manifest_file = folder / checksums.MANIFEST
        if manifest_file.exists():  # older programs wrote none
            checksums.check_contents(folder, checksums.read(manifest_file))
        with checksums.readable(folder / "settings.json"):
            settings = ItemKNNSettings(**json.loads((folder / "settings.json").read_text()))
        with checksums.readable(folder / "items.npy"):
            item_popularity = _finite(np.load(folder / "items.npy"))
        with checksums.readable(folder / "actions.npz"):
            next_type = NextTypeRegression.load(folder / "actions.npz")
            _finite(next_type.weights)
        together, labels, words = (_load_sparse(folder / f"{name}.npz") for name in _MATRICES)
        item_knn = ItemKNN(together, settings.history_decay)
        return cls(item_knn, labels, words, item_popularity, next_type, settings)


def write_manifest(folder: Path, made_from: dict) -> None:
    """Describe saved features, when all of their files are written."""
    checksums.write(folder / checksums.MANIFEST, {"made_from": made_from}, _FILES)


def _finite(numbers: np.ndarray) -> np.ndarray:
    """The same numbers. ValueError where one is not finite."""
    if not np.isfinite(numbers).all():
        raise ValueError("not all of its numbers are finite")
    return numbers


def _load_sparse(file: Path) -> sparse.csr_array:
    with checksums.readable(file):
        matrix = sparse.csr_array(sparse.load_npz(file))
        matrix.check_format(full_check=True)
        _finite(matrix.data)
    return matrix


def _popularity_columns(events: Events, history_ends: np.ndarray, num_items: int) -> np.ndarray:
    """[V, 3] float32: log count, log share of recent events, and the log ratio of both shares."""
    visible = events.items[events.visible(history_ends)]
    counts = np.bincount(visible, minlength=num_items)
    log_share = np.log((counts + 0.1) / (len(visible) + 0.1 * num_items))
    recent = recent_popularity(events, history_ends, num_items)
    columns = [np.log1p(counts), recent, recent - log_share]
    return np.stack(columns, axis=1).astype(np.float32)


def _stacked(columns: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Columns [q, C] side by side: [q, C, S] float32."""
    features = np.empty((*shape, len(columns)), np.float32)
    for number, column in enumerate(columns):
        features[..., number] = column
    return features


def _for_each_candidate(values: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """values [q] of queries, repeated for their candidates [q, C]."""
    return np.broadcast_to(values[:, None], candidates.shape)
