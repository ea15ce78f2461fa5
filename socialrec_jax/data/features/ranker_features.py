"""What the ranker is told of a user and a candidate, besides their vectors.

Counted once from what is known at fit time and kept beside the checkpoints, as parameters are: co-occurrence,
popularity, the words and labels of products. Looked up for every query: its history, its friends as of its moment.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.batching.friend_sampler import Deeds, Neighbourhood
from socialrec_jax.data.features import tfidf
from socialrec_jax.data.features.item_knn import CosineSettings, ItemCosine
from socialrec_jax.data.features.next_type import CountRegression
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.recent_items import recent_items, strongest
from socialrec_jax.data.world import Events, World, ranges

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
class Questions:
    """Users as they stand at a moment; all that signals may look at."""

    events: Events
    users: np.ndarray  # [q] into events
    ends: np.ndarray  # [q] exclusive row of the visible history
    moments: np.ndarray  # [q] unix seconds: friends' deeds strictly before count
    neighbourhood: Neighbourhood | None  # None: nobody has friends

    def part(self, begin: int, end: int) -> Questions:
        return dataclasses.replace(
            self,
            users=self.users[begin:end],
            ends=self.ends[begin:end],
            moments=self.moments[begin:end],
        )


@dataclasses.dataclass(frozen=True)
class Looked:
    """One chunk of questions, looked up: scores over the catalogue from which candidates and signals are read."""

    together: sparse.csr_array  # [q, V]
    deeds: Deeds | None
    friends: np.ndarray  # [3, q, V] weighted friends who had it, their latest, the like-minded ones
    history: sparse.csr_array  # [q, V] decayed recent items
    last: sparse.csr_array  # [q, V] the last item
    lengths: np.ndarray  # [q] events of each history


@dataclasses.dataclass(frozen=True)
class Signals:
    """Everything that was counted; `fit` counts it, `save` and `load` keep it."""

    cosine: ItemCosine
    labels: sparse.csr_array  # [V, W]
    words: sparse.csr_array  # [V, W]
    items: np.ndarray  # [V, 3] log popularity, log recent share, trend
    actions: CountRegression  # what users do next, from counts
    settings: CosineSettings

    @classmethod
    def fit(cls, world: World, ends: np.ndarray, settings: CosineSettings) -> Signals:
        """Count events before ends [U]; item texts are known whatever the time."""
        events, V = world.events, world.num_items
        visible = events.items[np.arange(len(events.items)) < ends[events.owners]]
        counts = np.bincount(visible, minlength=V)
        recent = recent_popularity(events, ends, V)
        share = np.log((counts + 0.1) / (len(visible) + 0.1 * V))
        return cls(
            cosine=ItemCosine.fit(events, ends, V, settings),
            labels=tfidf.labels(world.items),
            words=tfidf.words(world.items),
            items=np.stack([np.log1p(counts), recent, recent - share], axis=1).astype(np.float32),
            actions=CountRegression.fit(events, ends, len(world.event_types)),
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

    def look_up(self, asked: Questions) -> Looked:
        """The sparse part: everything that does not depend on which candidates are chosen."""
        e, V = asked.events, len(self.items)
        deeds = asked.neighbourhood and asked.neighbourhood.deeds(asked.users, asked.moments)
        return Looked(
            together=self.cosine.rows(e, asked.users, asked.ends),
            deeds=deeds,
            friends=friends_had(asked, deeds, V)
            if deeds
            else np.zeros((3, len(asked.users), 1), np.float32),
            history=recent_items(e, asked.users, asked.ends, V, _CONTENT_DECAY),
            last=recent_items(e, asked.users, asked.ends, V, 0.0),
            lengths=asked.ends - e.offsets[asked.users],
        )

    def proposals(self, looked: Looked, per_list: dict[str, int]) -> dict[str, np.ndarray]:
        """Candidate items [q, k] by source, best first where it matters; -1 where a list is short."""
        q = len(looked.lengths)
        trending = self._by_trend[: per_list["trending"]]
        lists = {"bought together": strongest(looked.together, per_list["bought together"])[0]}
        if looked.deeds is not None:
            latest = sparse.csr_array(looked.friends[1])
            lists["friends"] = strongest(latest, per_list["friends"])[0]
        return lists | {"trending": np.broadcast_to(trending, (q, len(trending)))}

    def of(
        self, looked: Looked, candidates: np.ndarray, retrieval: np.ndarray, text: np.ndarray
    ) -> np.ndarray:
        """The signals [q, C, S] float32 of candidates [q, C], in the order of NAMES; the last two are given."""
        q = len(candidates)
        together = np.take_along_axis(looked.together.toarray(), candidates, 1)
        places = candidates if looked.deeds is not None else np.zeros_like(candidates)
        friends, latest, alike = np.take_along_axis(looked.friends, places[None], 2)
        num_friends = looked.deeds.num_friends if looked.deeds is not None else np.zeros(q)
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
            tfidf.similarity(looked.history, self.labels, candidates),
            tfidf.similarity(looked.history, self.words, candidates),
            tfidf.similarity(looked.last, self.words, candidates),
            *np.moveaxis(of_items, -1, 0),
            each(np.log1p(looked.lengths)),
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
    def load(cls, folder: Path) -> Signals:
        settings = CosineSettings(**json.loads((folder / "settings.json").read_text()))
        together = sparse.csr_array(sparse.load_npz(folder / "together.npz"))
        return cls(
            cosine=ItemCosine(together, settings.history_decay),
            labels=sparse.csr_array(sparse.load_npz(folder / "labels.npz")),
            words=sparse.csr_array(sparse.load_npz(folder / "words.npz")),
            items=np.load(folder / "items.npy"),
            actions=CountRegression.load(folder / "actions.npz"),
            settings=settings,
        )


def friends_had(asked: Questions, deeds: Deeds, num_items: int) -> np.ndarray:
    """[3, q, V] float32: weighted friends who had each item, how lately, and how much those friends are like the user.

    Likeness is the cosine of what both had, up to the moment. Whoever had an item several times had it, and lately as
    of the last time.
    """
    deeds = _last_of_each_item(deeds, num_items)
    shape = (len(asked.users), num_items)
    own = np.zeros(shape, bool)
    lengths = asked.ends - asked.events.offsets[asked.users]
    own[
        np.repeat(np.arange(shape[0]), lengths),
        asked.events.items[ranges(asked.ends - lengths, lengths)],
    ] = True
    num_edges = int(deeds.edges.max(initial=-1)) + 1
    shared = np.bincount(deeds.edges, own[deeds.queries, deeds.items], num_edges)
    size = np.bincount(deeds.edges, minlength=num_edges)
    own_size = own.sum(axis=1)
    likeness = (shared / np.sqrt(np.maximum(size, 1)))[deeds.edges] / np.sqrt(
        np.maximum(own_size, 1)
    )[deeds.queries]
    values = (deeds.weights, deeds.weights / (1 + deeds.ages / 10), deeds.weights * likeness)
    place = (deeds.queries, deeds.items)
    return np.stack(
        [sparse.csr_array((v, place), shape, dtype=np.float32).toarray() for v in values]
    )


def _last_of_each_item(deeds: Deeds, num_items: int) -> Deeds:
    """The deeds without those that the same friend repeated later."""
    keys = deeds.edges * num_items + deeds.items
    last = np.sort(len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1])
    columns = {
        name: getattr(deeds, name)[last]
        for name in ("queries", "edges", "weights", "items", "ages")
    }
    return dataclasses.replace(deeds, **columns)
