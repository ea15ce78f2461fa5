"""What the ranker is told of a user and a candidate, besides their vectors.

Counted once from what is known at fit time and kept beside the checkpoints, as parameters are:
co-occurrence, popularity, the words and labels of products. Looked up for every query: its history,
its friends as of its moment.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.features import tfidf
from socialrec_jax.data.features.friend_events import FriendEvents, friends_had
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.next_type import NextTypeRegression
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.recent_items import recent_items, top_k_sparse
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import World

NAMES = (
    "bought together",
    "bought together at all",
    "friends who had it",
    "friends' latest",
    "like-minded friends",
    "number of friends",
    "labels shared",
    "words shared",
    "words shared with the last item",
    "popularity",
    "recent popularity",
    "trend",
    "events so far",
    "log-probability under the retriever",
    "likeness to recent items in text",
)
_CONTENT_DECAY = 0.8
_CELLS_AT_ONCE = 1 << 23  # queries x catalogue that are dense at once: 32 MB


@dataclasses.dataclass(frozen=True)
class QueryFeatures:
    """One chunk of questions, looked up: scores over the catalogue from which candidates and
    signals are read.
    """

    together: sparse.csr_array  # [q, V]
    friend_events: FriendEvents | None
    friends: np.ndarray  # [3, q, V] weighted friends who had it, their latest, the like-minded ones
    history: sparse.csr_array  # [q, V] decayed recent items
    last: sparse.csr_array  # [q, V] the last item
    lengths: np.ndarray  # [q] events of each history


@dataclasses.dataclass(frozen=True)
class RankerFeatures:
    """Everything that was counted; `fit` counts it, `save` and `load` keep it."""

    cosine: ItemKNN
    labels: sparse.csr_array  # [V, W]
    words: sparse.csr_array  # [V, W]
    items: np.ndarray  # [V, 3] log popularity, log recent share, trend
    actions: NextTypeRegression  # what users do next, from counts
    settings: ItemKNNSettings

    @classmethod
    def fit(
        cls, world: World, history_ends: np.ndarray, settings: ItemKNNSettings
    ) -> RankerFeatures:
        """Count events before ends [U]; item texts are known whatever the time."""
        events, V = world.events, world.num_items
        visible = events.items[np.arange(len(events.items)) < history_ends[events.owners]]
        counts = np.bincount(visible, minlength=V)
        recent = recent_popularity(events, history_ends, V)
        share = np.log((counts + 0.1) / (len(visible) + 0.1 * V))
        return cls(
            cosine=ItemKNN.fit(events, history_ends, V, settings),
            labels=tfidf.labels(world.items),
            words=tfidf.words(world.items),
            items=np.stack([np.log1p(counts), recent, recent - share], axis=1).astype(np.float32),
            actions=NextTypeRegression.fit(events, history_ends, len(world.event_types)),
            settings=settings,
        )

    @property
    def chunk(self) -> int:
        """Questions to look up at once."""
        return int(np.clip(_CELLS_AT_ONCE // len(self.items), 1, 512))

    @functools.cached_property
    def _by_trend(self) -> np.ndarray:
        """All items [V] int32, the recently most popular first."""
        return np.argsort(-self.items[:, 1], kind="stable").astype(np.int32)

    def look_up(self, query: Query) -> QueryFeatures:
        """The sparse part: everything that does not depend on which candidates are chosen."""
        e, V = query.events, len(self.items)
        friend_events = query.friend_sampler and FriendEvents.before(
            query.friend_sampler, query.users, query.query_times
        )
        histories = e.histories(query.users, query.history_ends)
        return QueryFeatures(
            together=self.cosine.rows(e, query.users, query.history_ends),
            friend_events=friend_events,
            friends=friends_had(histories, friend_events, V)
            if friend_events
            else np.zeros((3, len(query.users), 1), np.float32),
            history=recent_items(e, query.users, query.history_ends, V, _CONTENT_DECAY),
            last=recent_items(e, query.users, query.history_ends, V, 0.0),
            lengths=query.history_ends - e.offsets[query.users],
        )

    def proposals(
        self, query_features: QueryFeatures, per_list: dict[str, int]
    ) -> dict[str, np.ndarray]:
        """Candidate items [q, k] by source, best first where it matters; -1 where a list is
        short.
        """
        q = len(query_features.lengths)
        trending = self._by_trend[: per_list["trending"]]
        lists = {
            "bought together": top_k_sparse(query_features.together, per_list["bought together"])[0]
        }
        if query_features.friend_events is not None:
            latest = sparse.csr_array(query_features.friends[1])
            lists["friends"] = top_k_sparse(latest, per_list["friends"])[0]
        return lists | {"trending": np.broadcast_to(trending, (q, len(trending)))}

    def of(
        self,
        query_features: QueryFeatures,
        candidates: np.ndarray,
        retrieval: np.ndarray,
        text: np.ndarray,
    ) -> np.ndarray:
        """The signals [q, C, S] float32 of candidates [q, C], in the order of NAMES; the last two
        are given.
        """
        q = len(candidates)
        together = np.take_along_axis(query_features.together.toarray(), candidates, 1)
        places = (
            candidates if query_features.friend_events is not None else np.zeros_like(candidates)
        )
        friends, latest, alike = np.take_along_axis(query_features.friends, places[None], 2)
        num_friends = (
            query_features.friend_events.num_friends
            if query_features.friend_events is not None
            else np.zeros(q)
        )
        of_items = self.items[candidates]

        def each(values: np.ndarray) -> np.ndarray:
            return np.broadcast_to(values[:, None], candidates.shape)

        columns = [
            np.log(together + 1e-4),
            together > 0,
            np.log1p(friends),
            latest,
            alike,
            each(np.log1p(num_friends)),
            tfidf.similarity(query_features.history, self.labels, candidates),
            tfidf.similarity(query_features.history, self.words, candidates),
            tfidf.similarity(query_features.last, self.words, candidates),
            *np.moveaxis(of_items, -1, 0),
            each(np.log1p(query_features.lengths)),
            retrieval,
            text,
        ]
        return np.stack(columns, axis=-1).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write to folder; `settings.json` comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("labels", "words"):
            sparse.save_npz(folder / f"{name}.npz", getattr(self, name))
        sparse.save_npz(folder / "together.npz", self.cosine.similarity)
        np.save(folder / "items.npy", self.items)
        self.actions.save(folder / "actions.npz")
        (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(self.settings)))

    @classmethod
    def load(cls, folder: Path) -> RankerFeatures:
        settings = ItemKNNSettings(**json.loads((folder / "settings.json").read_text()))
        together = sparse.csr_array(sparse.load_npz(folder / "together.npz"))
        return cls(
            cosine=ItemKNN(together, settings.history_decay),
            labels=sparse.csr_array(sparse.load_npz(folder / "labels.npz")),
            words=sparse.csr_array(sparse.load_npz(folder / "words.npz")),
            items=np.load(folder / "items.npy"),
            actions=NextTypeRegression.load(folder / "actions.npz"),
            settings=settings,
        )
