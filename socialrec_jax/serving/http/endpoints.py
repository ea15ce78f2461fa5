"""The tasks as endpoints: how a request is checked, what may be joined, how answers are divided.

Ids are checked before a request waits, so that a mistake of one request fails no other.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.serving.frames import find_numbers
from socialrec_jax.serving.http import bodies
from socialrec_jax.serving.http.request_sessions import Session, joined_query, session_of
from socialrec_jax.serving.queries import NamedQuery
from socialrec_jax.serving.ranked_tables import check_k
from socialrec_jax.serving.recommender import Recommender
from socialrec_jax.serving.rules.user_match import check_attributes
from socialrec_jax.serving.rules.where import parse_where
from socialrec_jax.serving.sessions import user_values


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A checked request.

    rows: what the answer has rows of, users or items or texts. options: hashable. pairs: of user
    and item, for scores. attributes: {name: values of the users [q]}, those that the options read.
    """

    rows: Sequence[str]
    options: Any
    session: Session | None = None
    pairs: Sequence[tuple[str, str]] = ()
    attributes: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> Hashable:
        """Requests of an equal key may be joined."""
        # Friendships of one request are no business of another one.
        is_alone = self.session is not None and self.session.friends is not None
        return self.options, id(self) if is_alone else None


# From the body to a checked request, and from joined requests to the table of each.
Check = Callable[[Recommender, Any], Request]
Answer = Callable[[Recommender, Sequence[Request]], list[pa.Table]]


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One task behind HTTP."""

    name: str
    body: type[bodies.Body]
    check: Check
    answer: Answer


# ---- Users


def check_recommend(recommender: Recommender, body: bodies.RecommendBody) -> Request:
    # A mistake is named before the request waits for others.
    world = recommender.engine.world
    check_k(body.k, world)
    if body.promote is not None:
        parse_where(body.promote, "--promote")
    for items in (body.allow, body.block):
        find_numbers(world.items.ids, items or [], "item")
    about_users = {"users", "events", "friends", "new_users", "attributes"}
    options = body.model_dump(exclude=about_users)
    session = session_of(world, body.users, body)
    attributes = _attributes(world, body, session.numbers)
    return Request(body.users, _hashable(options), session, attributes=attributes)


def _attributes(
    world: World, body: bodies.RecommendBody, numbers: np.ndarray
) -> dict[str, list[str]]:
    """The attributes that the condition of a request reads, of its users with numbers [q]."""
    others = body.attributes.keys() - set(body.users)
    if others:
        raise UsageError(f"attributes: {min(others)!r} is none of the users of the request")
    check_attributes((name for given in body.attributes.values() for name in given), world)
    if body.where is None:
        return {}
    names = parse_where(body.where).user_attributes
    check_attributes(names, world)
    of_users = [body.attributes.get(user, {}) for user in body.users]
    return {
        name: user_values(world, name, numbers, [given.get(name) for given in of_users])
        for name in names
    }


def recommend(recommender: Recommender, requests: Sequence[Request]) -> list[pa.Table]:
    options = dict(requests[0].options)
    table = recommender.recommend(histories=_query_of(recommender, requests), **options)
    return _by_user(_shown_now(table), requests)


def _shown_now(table: pa.Table) -> pa.Table:
    """The table, whose lists are shown at the present where it says when."""
    # Exploration draws by the run's newest event, so that a list stays as it is in all requests.
    if "timestamp" not in table.column_names:
        return table
    at = table.schema.get_field_index("timestamp")
    present = pa.array(np.full(len(table), int(time.time())))
    return table.set_column(at, table.schema.field(at), present)


def check_profile(recommender: Recommender, body: bodies.ProfileBody) -> Request:
    session = session_of(recommender.engine.world, body.users, body)
    return Request(body.users, body.top, session)


def profile(recommender: Recommender, requests: Sequence[Request]) -> list[pa.Table]:
    histories = _query_of(recommender, requests)
    table = recommender.profile(top=requests[0].options, histories=histories)
    return _by_user(table, requests)


def check_score(recommender: Recommender, body: bodies.ScoreBody) -> Request:
    world = recommender.engine.world
    find_numbers(world.items.ids, [pair.item_id for pair in body.pairs], "item")
    # A user is encoded once, however many pairs name it.
    users = list(dict.fromkeys(pair.user_id for pair in body.pairs))
    pairs = [(pair.user_id, pair.item_id) for pair in body.pairs]
    return Request(users, "score", session_of(world, users, body), pairs)


def score(recommender: Recommender, requests: Sequence[Request]) -> list[pa.Table]:
    # The joined query numbers the users of all requests one after the other.
    places, items, begin = [], [], 0
    for request in requests:
        place_of = {user: begin + place for place, user in enumerate(request.rows)}
        places += [str(place_of[user]) for user, _ in request.pairs]
        items += [item for _, item in request.pairs]
        begin += len(request.rows)
    pairs = pa.table({"user_id": places, "item_id": items})
    table = recommender.score(pairs, histories=_query_of(recommender, requests))
    table = _with_names(table, requests)
    ends = np.cumsum([len(request.pairs) for request in requests]).tolist()
    return [table.slice(begin, end - begin) for begin, end in itertools.pairwise([0, *ends])]


def _query_of(recommender: Recommender, requests: Sequence[Request]) -> NamedQuery:
    """One query of the users of all requests, one request after the other."""
    sessions = [request.session for request in requests if request.session is not None]
    attributes = {
        name: [value for request in requests for value in request.attributes[name]]
        for name in requests[0].attributes
    }
    return joined_query(recommender.engine, sessions, attributes)


def _with_names(table: pa.Table, requests: Sequence[Request]) -> pa.Table:
    """The table with user ids in place of the places of users."""
    names = pa.array([user for request in requests for user in request.rows], pa.string())
    places = table["user_id"].cast(pa.int64())
    at = table.schema.get_field_index("user_id")
    return table.set_column(at, table.schema.field(at), names.take(places))


def _by_user(table: pa.Table, requests: Sequence[Request]) -> list[pa.Table]:
    """The rows of each request; users come in their order."""
    places = np.asarray(table["user_id"].cast(pa.int64()))
    ends = np.cumsum([len(request.rows) for request in requests])
    rows = [0, *np.searchsorted(places, ends).tolist()]
    named = _with_names(table, requests)
    return [named.slice(begin, end - begin) for begin, end in itertools.pairwise(rows)]


# ---- Items


def check_similar(recommender: Recommender, body: bodies.SimilarBody) -> Request:
    world = recommender.engine.world
    check_k(body.k, world)
    find_numbers(world.items.ids, body.items, "item")
    return Request(body.items, (("k", body.k), ("by", body.by)))


def similar(recommender: Recommender, requests: Sequence[Request]) -> list[pa.Table]:
    # Items that several requests name are answered once.
    table = recommender.similar(_distinct_rows(requests), **dict(requests[0].options))
    return _by_name(table, "item_id", requests)


def check_search(recommender: Recommender, body: bodies.SearchBody) -> Request:
    check_k(body.k, recommender.engine.world)
    return Request(body.queries, (("k", body.k), ("by", body.by)))


def search(recommender: Recommender, requests: Sequence[Request]) -> list[pa.Table]:
    table = recommender.search(_distinct_rows(requests), **dict(requests[0].options))
    return _by_name(table, "query", requests)


def _distinct_rows(requests: Sequence[Request]) -> list[str]:
    return list(dict.fromkeys(row for request in requests for row in request.rows))


def _by_name(table: pa.Table, column: str, requests: Sequence[Request]) -> list[pa.Table]:
    """The rows of each request, which may name what another one names too."""
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(table[column].to_pylist()):
        rows_of.setdefault(name, []).append(row)
    chosen = [
        [row for name in request.rows for row in rows_of.get(name, [])] for request in requests
    ]
    return [table.take(pa.array(rows, pa.int64())) for rows in chosen]


# ---- Campaigns


def check_audience(recommender: Recommender, body: bodies.AudienceBody) -> Request:
    # The command line has one way more.
    if sum(map(bool, (body.items, body.categories, body.tags))) != 1:
        raise UsageError("give one of items, categories and tags")
    return Request((), _hashable(body.model_dump()))


def audience(recommender: Recommender, requests: Sequence[Request]) -> list[pa.Table]:
    # Joined requests are equal, so that they have one answer.
    table = recommender.audience(**dict(requests[0].options))
    return [table] * len(requests)


def _hashable(options: dict[str, Any]) -> tuple:
    # Lists cannot be a key, tuples can.
    pairs = ((name, tuple(v) if isinstance(v, list) else v) for name, v in options.items())
    return tuple(pairs)


ENDPOINTS = (
    Endpoint("recommend", bodies.RecommendBody, check_recommend, recommend),
    Endpoint("score", bodies.ScoreBody, check_score, score),
    Endpoint("profile", bodies.ProfileBody, check_profile, profile),
    Endpoint("similar", bodies.SimilarBody, check_similar, similar),
    Endpoint("search", bodies.SearchBody, check_search, search),
    Endpoint("audience", bodies.AudienceBody, check_audience, audience),
)
