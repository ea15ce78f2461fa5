"""The top-k items of each user."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.query import Query
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.explain import Explainer
from socialrec_jax.inference.leave_out import LeaveOut
from socialrec_jax.inference.recommendations import Recommendations
from socialrec_jax.runtime import background
from socialrec_jax.serving import exploration
from socialrec_jax.serving.exploration import Exploration
from socialrec_jax.serving.frames import Ids, arrow_strings
from socialrec_jax.serving.placements import SOURCE_NAMES
from socialrec_jax.serving.queries import UserQuery, friend_names, users_or_histories
from socialrec_jax.serving.ranked_tables import check_k, typed_table
from socialrec_jax.serving.tasks.recommend_lists import Lists
from socialrec_jax.serving.tasks.recommend_options import RecommendOptions
from socialrec_jax.serving.tasks.recommend_reasons import (
    REASONS,
    ReasonColumns,
    without_reasons,
)
from socialrec_jax.serving.user_tables import UserTables

log = logging.getLogger(__name__)

_NAMED_USERS = 10  # in a line about users without items


def schema(event_types: list[str], *, explores: bool = False) -> pa.Schema:
    """The columns, one row a recommendation.

    rank: 1 = best; users with fewer than k items left get fewer rows. score: a logit.
    p_<event type>: the probability that the user's next event is this one on this item. source: the
    first list that proposed the item, or the placement (`SOURCE_NAMES`). reasons, explanation: why,
    as structs and in words. explores: also when the list is shown, and whether in random order.
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
            ("reasons", REASONS),
            ("explanation", pa.string()),
            *(exploration.COLUMNS if explores else []),
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
    """The same, to be read for some of the users at a time.

    A line names users for whom the rules leave no item.
    """
    options.check()
    # Mistakes are named before the histories are read, which may take long.
    check_k(options.k, engine.world)
    lists = Lists.of(engine, options, as_of)
    named = users_or_histories(engine, as_of, users, options.histories)
    query = named.query
    reasons = ReasonsOfLists.of(lists, named)

    # A generator: scores of all users need not fit into memory.
    def rows_of(some: slice) -> Iterator[tuple[int, pa.Table]]:
        return rows_of_lists(lists, reasons, query.part(some), named.user_ids)

    columns = schema(engine.world.event_types, explores=lists.exploration is not None)
    return UserTables(len(query), columns, rows_of)


def rows_of_lists(
    lists: Lists, reasons: ReasonsOfLists, query: Query, user_ids: Strings
) -> Iterator[tuple[int, pa.Table]]:
    """(number of users, their rows) of each part; the users without rows are named at the end."""
    world = lists.engine.world
    columns = schema(world.event_types, explores=lists.exploration is not None)
    # Ids are looked up by Arrow, without a text of Python for each row.
    names = arrow_strings(user_ids), arrow_strings(world.items.ids)
    without_items: list[np.ndarray] = []
    done = 0
    # Another thread makes the next lists, while this one finds reasons and the caller writes.
    for part in background.prefetch(lists.parts(query)):
        without_items.append(part.users[~part.exists.any(axis=1)])
        of_part = query.part(slice(done, done + len(part.users)))
        # Parts have the size that the ranker computes at once, so they are counted.
        done += len(part.users)
        why = reasons.columns(of_part, part)
        yield len(part.users), _table(part, *names, why, columns, lists.exploration)
    _report_users_without_items(user_ids, without_items)


@dataclasses.dataclass(frozen=True, eq=False)
class ReasonsOfLists:
    """Makes the columns of reasons for lists; without an explainer they are empty."""

    explainer: Explainer | None
    leave_out: LeaveOut
    reason_columns: ReasonColumns | None

    @classmethod
    def of(cls, lists: Lists, named: UserQuery) -> ReasonsOfLists:
        """named: the query of all users."""
        options, engine = lists.options, lists.engine
        leave_out = LeaveOut(engine)
        # The terms of the catalogue are not counted for nothing.
        if options.reasons == "off":
            return cls(None, leave_out, None)
        min_friends = options.privacy.min_friends
        explainer = Explainer.of(engine, named.query, options.reasons == "exact", min_friends)
        names = friend_names(engine.world, named.new_ids)
        columns = ReasonColumns(engine.world, explainer.terms.names, names, options)
        return cls(explainer, leave_out, columns)

    def columns(self, query: Query, part: Recommendations) -> tuple[pa.Array, pa.Array]:
        """(reasons, explanation) of the recommendations that exist, row by row."""
        count = int(part.exists.sum())
        if self.explainer is None or self.reason_columns is None:
            return without_reasons(count)
        # Lists may be shorter than k.
        offsets = np.concatenate([[0], np.cumsum(part.exists.sum(axis=1))])
        pairs = Pairs(offsets, part.items[part.exists])
        reasons = self.explainer.reasons(query, pairs, self.leave_out)
        return self.reason_columns.columns(reasons, count)


def _report_users_without_items(user_ids: Strings, parts: list[np.ndarray]) -> None:
    users = np.concatenate([np.zeros(0, np.int64), *parts])
    if not len(users):
        return
    names = ", ".join(user_ids[user] for user in users[:_NAMED_USERS].tolist())
    # Ten names show what kind of users these are.
    more = ", ..." if len(users) > _NAMED_USERS else ""
    log.warning("no item is left to recommend to %d users: %s%s", len(users), names, more)


def _table(
    part: Recommendations,
    user_names: pa.Array,
    item_names: pa.Array,
    reasons: tuple[pa.Array, pa.Array],
    columns: pa.Schema,
    explores: Exploration | None,
) -> pa.Table:
    # Row by row, so that the best item of a user comes first.
    row, place = np.nonzero(part.exists)
    exploring = explores.columns(part.users[row]) if explores else []
    probabilities = part.type_probabilities[row, place]
    arrays = [
        user_names.take(pa.array(part.users[row])),
        pa.array(place + 1),
        item_names.take(pa.array(part.items[row, place])),
        pa.array(part.scores[row, place]),
        *(pa.array(column) for column in probabilities.T),
        pa.array(SOURCE_NAMES).take(pa.array(part.sources[row, place])),
        *reasons,
        *exploring,
    ]
    return typed_table(columns, arrays)
