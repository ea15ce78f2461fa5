"""Scores of given pairs of user and item: for coupons, ads, or an order of given items."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import Pairs, offsets_of
from socialrec_jax.data.query import Query
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.pair_scores import score_pairs
from socialrec_jax.serving.frames import Frame, arrow_strings, read_pairs
from socialrec_jax.serving.queries import users_or_histories
from socialrec_jax.serving.ranked_tables import typed_table

# A user is encoded once for so many pairs. Bounds memory.
_PAIRS_AT_ONCE = 1 << 18


def schema(event_types: list[str]) -> pa.Schema:
    """The columns, one row a pair. score and p_<event type>: as of a recommendation."""
    probabilities = [(f"p_{name}", pa.float32()) for name in event_types]
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("score", pa.float32()),
            *probabilities,
        ]
    )


def score(
    engine: Engine, as_of: AsOf, pairs: Frame, histories: Frame | None = None
) -> Iterator[pa.Table]:
    """Scores of pairs as of a time, in their order, as a stream of tables of one schema.

    histories: raw events of new users, whom the pairs name instead of users of the run. The first
    table is empty: a stream has a schema even without pairs.
    """
    columns = schema(engine.world.event_types)
    named = users_or_histories(engine, as_of, None, histories)
    users, items = read_pairs(pairs, named.user_ids, engine.world)
    user_names = arrow_strings(named.user_ids)
    parts = [slice(begin, begin + _PAIRS_AT_ONCE) for begin in range(0, len(users), _PAIRS_AT_ONCE)]
    tables = (_table(engine, named.query, user_names, users[part], items[part]) for part in parts)
    return itertools.chain([columns.empty_table()], tables)


def _table(
    engine: Engine, query: Query, user_names: pa.Array, users: np.ndarray, items: np.ndarray
) -> pa.Table:
    scores, probabilities = _scores(engine, query, users, items)
    arrays = [
        user_names.take(pa.array(users)),
        arrow_strings(engine.world.items.ids).take(pa.array(items)),
        pa.array(scores),
        *(pa.array(column) for column in probabilities.T),
    ]
    return typed_table(schema(engine.world.event_types), arrays)


def _scores(
    engine: Engine, query: Query, users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(scores [n], probabilities [n, A]) of pairs [n]; query: all users that pairs may name."""
    distinct_users, owners = np.unique(users, return_inverse=True)
    by_user = np.argsort(owners, kind="stable")
    offsets = offsets_of(owners[by_user], len(distinct_users))
    pairs = Pairs(offsets, items[by_user].astype(np.int32))

    # Deleted users have no row, so the rows are found by the numbers of their users.
    rows = np.searchsorted(query.users, distinct_users)
    scores, probabilities = score_pairs(engine, query.part(rows), pairs)

    # Back to the order of the rows.
    # The argsort of a permutation is its inverse.
    place = np.argsort(by_user)
    return scores[place], probabilities[place]
