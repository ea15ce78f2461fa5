"""The top-k items of each user."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.candidates import SOURCES
from socialrec_jax.inference.engine import Engine, Recommendations
from socialrec_jax.serving.frames import Frame, Ids, arrow_strings, find_numbers
from socialrec_jax.serving.queries import users_or_histories
from socialrec_jax.serving.ranked_tables import typed_table
from socialrec_jax.serving.user_tables import UserTables


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecommendOptions:
    """Options of the task, besides the users."""

    k: int = 10  # items a user, 1..catalogue
    histories: Frame | None = None  # events of new users, instead of users of the run
    allow: Ids | None = None  # recommend only these items
    block: Ids | None = None  # never recommend these items
    repeats: bool = False  # recommend items of the user's history again


def schema(event_types: list[str]) -> pa.Schema:
    """The columns, one row a recommendation.

    rank: 1 = best; users with fewer than k items left get fewer rows. score: a logit.
    p_<event type>: the probability that the user's next event is this one on this item. source: the
    first list that proposed the item (`candidates.SOURCES`).
    """
    probabilities = [(f"p_{name}", pa.float32()) for name in event_types]
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("rank", pa.int32()),
            ("item_id", pa.string()),
            ("score", pa.float32()),
            *probabilities,
            ("source", pa.string()),
            ("reasons", pa.string()),
        ]
    )


def recommend(
    engine: Engine, as_of: AsOf, users: Ids | None, options: RecommendOptions
) -> Iterator[pa.Table]:
    """Recommendations of users (ids, all where None) as of a time, as a stream of tables of one
    schema.

    Users come in their order, best item first. The first table is empty: a stream has a schema
    even for an empty list of users.
    """
    return recommend_users(engine, as_of, users, options).tables()


def recommend_users(
    engine: Engine, as_of: AsOf, users: Ids | None, options: RecommendOptions
) -> UserTables:
    """The same, to be read for some of the users at a time."""
    columns = schema(engine.world.event_types)
    allowed = _allowed_items(engine.world, options.allow, options.block)
    user_ids, query = users_or_histories(engine, as_of, users, options.histories)
    names = arrow_strings(user_ids), arrow_strings(engine.world.items.ids)

    # A generator: scores of all users need not fit into memory.
    def rows_of(some: slice) -> Iterator[tuple[int, pa.Table]]:
        chosen = query.part(some)
        parts = engine.recommend(chosen, k=options.k, repeats=options.repeats, allowed=allowed)
        return ((len(part.users), _table(part, *names, columns)) for part in parts)

    return UserTables(len(query), columns, rows_of)


def _allowed_items(world: World, allow: Ids | None, block: Ids | None) -> np.ndarray | None:
    """Which items may be recommended [V] bool, None when all. Deleted items never are."""
    deleted = world.deleted_items
    if allow is None and block is None and not deleted.any():
        return None
    allowed = ~deleted
    if allow is not None:
        allowed[:] = False
        allowed[find_numbers(world.items.ids, allow, "item")] = True
    if block is not None:
        allowed[find_numbers(world.items.ids, block, "item")] = False
    # Without any item every user's list would be empty.
    if not allowed.any():
        raise BadData("--allow and --block leave no item to recommend")
    return allowed


def _table(
    part: Recommendations, user_names: pa.Array, item_names: pa.Array, columns: pa.Schema
) -> pa.Table:
    # Row by row, so that the best item of a user comes first.
    row, place = np.nonzero(part.exists)
    probabilities = part.type_probabilities[row, place]
    arrays = [
        user_names.take(pa.array(part.users[row])),
        pa.array(place + 1),
        item_names.take(pa.array(part.items[row, place])),
        pa.array(part.scores[row, place]),
        *(pa.array(column) for column in probabilities.T),
        pa.array(SOURCES).take(pa.array(part.sources[row, place])),
        _reasons(part.reasons[row, place], item_names),
    ]
    return typed_table(columns, arrays)


def _reasons(items: np.ndarray, item_names: pa.Array) -> pa.Array:
    """Why, in words: the recent item that is similar; nothing where items are -1."""
    # A masked number takes a null, which any text joined with it stays.
    similar = item_names.take(pa.array(items, mask=items < 0))
    prefix = pa.scalar("similar to ", pa.large_string())
    separator = pa.scalar("", pa.large_string())
    texts = pc.call_function("binary_join_element_wise", [prefix, similar, separator])
    return pc.fill_null(texts, "")
