"""What the host computes for a served or an evaluated user, and once for a shop, piece by piece."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse

from benchmarks.work.serving import untrained_engine
from socialrec_jax.config import Config
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features import tfidf
from socialrec_jax.data.features.friend_events import FriendEvents, friends_had
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.query import Query
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.text.whitening import Whitening
from socialrec_jax.data.world import BEFORE_VALIDATION, NOW, TEST, World
from socialrec_jax.evaluation import baselines, protocol
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.evaluation.sparse_scores import PopularList, evaluate_sparse
from socialrec_jax.inference.candidates import PER_LIST
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import Index, TopItems

# Of all pieces, so that a wrong --only is found before a shop is made.
NAMES = (
    "item-kNN counted",
    "tf-idf of labels",
    "tf-idf of words",
    "whitening",
    "held-out part",
    "popular list",
    "served user, search left out",
    "of it: states",
    "of it: item-kNN scores",
    "of it: friends' events",
    "of it: candidates",
    "of it: features",
    "item-kNN evaluated",
    "user-kNN evaluated",
    "popular evaluated",
)
ITEMS_PER_USER = 5
_QUERIES = 512
_SERVED_USERS = 2048  # the encoder and the ranker take several chunks of them
_TEXT_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Piece:
    """Something that the host computes."""

    name: str
    call: Callable[[], Any]
    unit: str
    units: int  # of a call
    is_long: bool = False  # then it is done once, in a large shop


def made_up_world(folder: Path, num_items: int) -> World:
    """A shop of so many items, and a user for five of them; it is made once in folder."""
    tables = folder / f"tables-{num_items}"
    # users.parquet is written last.
    if not (tables / "users.parquet").exists():
        write_tables(tables, num_users=num_items // ITEMS_PER_USER, num_items=num_items)
    return prepare(tables, folder / f"world-{num_items}", Config().data, "leave-one-out")


def pieces(world: World) -> Iterator[Piece]:
    """All pieces of a World's host; the first ones are counted once."""
    yield from _counted_once(world)
    engine = untrained_engine(world)
    assert engine.reranker is not None
    features = engine.reranker.generator.features
    yield from _served(engine, features)
    yield from _parts_of_features(engine, features)
    yield from _evaluated(world, features.item_knn)


def _counted_once(world: World) -> Iterator[Piece]:
    """What costs more with every event or item; a unit of it should not."""
    ends = world.history_ends(NOW)
    num_items = world.num_items
    popularity = baselines.popular(world.events, ends, num_items)
    vectors = np.random.default_rng(0).normal(size=(num_items, _TEXT_WIDTH)).astype(np.float32)

    def item_knn() -> ItemKNN:
        return ItemKNN.fit(world.events, ends, num_items, ItemKNNSettings())

    def held_out() -> EvaluationQueries:
        # A World keeps its parts; a copy has none yet.
        return protocol.held_out(dataclasses.replace(world), TEST)

    def whitened() -> np.ndarray:
        return Whitening.fit(vectors, _TEXT_WIDTH).apply(vectors)

    once = functools.partial(Piece, is_long=True)
    yield once("item-kNN counted", item_knn, "event", len(world.events.items))
    yield once("tf-idf of labels", lambda: tfidf.label_matrix(world.items), "item", num_items)
    yield once("tf-idf of words", lambda: tfidf.word_matrix(world.items), "item", num_items)
    yield once("whitening", whitened, "item", num_items)
    yield once("held-out part", held_out, "user", world.num_users)
    yield once("popular list", lambda: PopularList.of(popularity), "item", num_items)


def _served(engine: Engine, features: RankerFeatures) -> Iterator[Piece]:
    """A user of `serve.py recommend` without the search, and the encoder's part of that."""
    assert engine.reranker is not None
    query = engine.query(_some(engine.world.num_users, _SERVED_USERS))
    users = len(query)
    kept = dataclasses.replace(engine, index=_KeptSearch(engine, query))
    served = kept.with_ranker(features, engine.reranker.params)

    def recommend() -> None:
        for _ in served.recommend(query):
            pass

    yield Piece("served user, search left out", recommend, "user", users)
    yield Piece("of it: states", lambda: engine.states(query), "user", users)


def _parts_of_features(engine: Engine, features: RankerFeatures) -> Iterator[Piece]:
    query = engine.query(_some(engine.world.num_users, _QUERIES))
    looked_up = features.look_up(query)
    rng = np.random.default_rng(0)
    shape = (len(query), sum(PER_LIST.values()))
    candidates = rng.integers(features.num_items, size=shape).astype(np.int32)
    proposed = features.proposals(looked_up, PER_LIST)["bought together"]
    # Candidates that users have something to do with, and others.
    candidates[:, : proposed.shape[1]] = np.maximum(proposed, 0)
    dense = np.zeros(shape, np.float32)

    def compute() -> np.ndarray:
        return features.compute(looked_up, candidates, dense, dense)

    of_users = functools.partial(Piece, unit="user", units=len(query))
    yield of_users("of it: item-kNN scores", lambda: features.item_knn.scores(query))
    yield of_users("of it: friends' events", lambda: _friends_had(query, features.num_items))
    yield of_users("of it: candidates", lambda: features.proposals(looked_up, PER_LIST))
    yield of_users("of it: features", compute)


def _friends_had(query: Query, num_items: int) -> object:
    if query.friend_sampler is None:
        return None
    histories = query.events.histories(query.users, query.history_ends)
    return friends_had(histories, FriendEvents.before(query, query.friend_sampler), num_items)


def _evaluated(world: World, item_knn: ItemKNN) -> Iterator[Piece]:
    """A user whose held-out items the baselines rank."""
    queries = protocol.held_out(world, TEST).sample(_QUERIES, seed=0)
    ends = world.history_ends(BEFORE_VALIDATION)
    user_knn = baselines.UserKNN.fit(world, ends)
    popularity = baselines.popular(world.events, ends, world.num_items)
    by_popularity = PopularList.of(popularity)

    def by(scores: Callable[[Query], sparse.csr_array]) -> Callable[[], Any]:
        def of_part(part: EvaluationQueries) -> sparse.csr_array:
            return scores(part.query)

        return lambda: evaluate_sparse(of_part, queries, world.num_items)

    of_users = functools.partial(Piece, unit="user", units=len(queries))
    yield of_users("item-kNN evaluated", by(item_knn.scores))
    yield of_users("user-kNN evaluated", by(user_knn.scores))
    yield of_users("popular evaluated", lambda: by_popularity.evaluate(queries))


def _some(num_users: int, count: int) -> np.ndarray:
    """At most so many users, from all over the World."""
    return np.unique(np.linspace(0, num_users - 1, min(count, num_users)).astype(np.int64))


class _KeptSearch(Index):
    """The lists of one search, made once: what is timed is everything around it."""

    def __init__(self, engine: Engine, query: Query):
        self._lists = _searched(engine, query)
        self.num_items, self.sharded = engine.world.num_items, False

    def top(
        self,
        shared,
        queries: np.ndarray,
        seen: Pairs,
        k: int,
        allowed: np.ndarray | None = None,
        *,
        counted: np.ndarray | None = None,
        repeats: bool = False,
    ) -> Iterator[TopItems]:
        """The kept lists, whatever the arguments are."""
        yield self._lists


def _searched(engine: Engine, query: Query) -> TopItems:
    seen = query.events.histories(query.users, query.history_ends)
    inputs = engine.index_inputs()
    found = engine.index.top(inputs, engine.states(query), seen, PER_LIST["history"])
    return TopItems(*(np.concatenate(column) for column in zip(*found, strict=True)))
