"""Answers over HTTP equal those of the Recommender, however requests are joined; mistakes are 4xx
with one line.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from socialrec_jax.data.csr import offsets_of
from socialrec_jax.data.world import NOW
from socialrec_jax.serving.http.batcher import BatchSettings
from socialrec_jax.serving.recommender import Recommender
from tests.serving.http.calls import post


def assert_equals(table: pa.Table, *answers) -> None:
    """The rows of answers, one after the other: JSON numbers, read as float32, bit for bit."""
    assert {status for status, _ in answers} == {200}
    rows = [row for _, content in answers for row in content["rows"]]
    found = pa.Table.from_pylist(rows, table.schema)
    for name in table.column_names:
        assert found[name].to_pylist() == table[name].to_pylist(), name


def ids_of(recommender: Recommender, *users: int) -> list[str]:
    return [recommender.engine.world.user_ids[user] for user in users]


def test_joined_answers_equal_those_of_the_recommender(recommender):
    users = [ids_of(recommender, *range(first, first + 3)) for first in (0, 2, 20)]
    everyone = [user for some in users for user in some]
    items = recommender.engine.world.items.ids[:5]
    pairs = [
        [{"user_id": user, "item_id": item} for item in items[:2] for user in some]
        for some in (users[0], users[2])
    ]
    options = {"k": 4, "where": "price < 60", "per_category": 2}
    answers = post(
        recommender,
        *[("recommend", {"users": some} | options) for some in users],
        *[("profile", {"users": some}) for some in users],
        *[("score", {"pairs": some}) for some in pairs],
        *[("similar", {"items": some, "k": 3}) for some in (items[:3], items[1:])],
        ("audience", {"items": items[:2], "k": 5}),
        # The last one waits for all others, which compile.
        batches=BatchSettings(join_seconds=0.2, timeout_seconds=60),
    )
    assert_equals(recommender.recommend(everyone, **options), *answers[:3])
    assert_equals(recommender.profile(everyone), *answers[3:6])
    assert_equals(recommender.score(pa.Table.from_pylist(pairs[0] + pairs[1])), *answers[6:8])
    assert_equals(recommender.similar(items[:3] + items[1:], k=3), *answers[8:10])
    assert_equals(recommender.audience(items[:2], k=5), answers[10])


def test_rules_of_requests_are_those_of_the_recommender(recommender):
    users = ids_of(recommender, 1, 5, 9)
    rules = {"k": 6, "promote": "price < 30", "promote_share": 0.5, "boost_popularity": 2}
    rules |= {"new_items": 0.2, "new_items_days": 400, "repeats_half_life": 1.5}
    plain, ruled = post(
        recommender,
        ("recommend", {"users": users, "k": 6}),
        ("recommend", {"users": users} | rules),
    )
    assert_equals(recommender.recommend(users, **rules), ruled)
    assert plain != ruled


def test_a_condition_reads_attributes_of_the_run_and_of_the_request(recommender):
    users, where = ids_of(recommender, 1, 4, 9), "category = user.region"
    body = {"users": users, "where": where, "k": 6}
    new = {"users": ["guest"], "new_users": True, "where": where, "k": 6}
    given = new | {"attributes": {"guest": {"region": "category 2"}}}
    known, guest, without = post(
        recommender,
        *[("recommend", request) for request in (body, given, new)],
        batches=BatchSettings(join_seconds=0.2),
    )
    assert_equals(recommender.recommend(users, where=where, k=6), known)
    items = recommender.engine.world.items
    numbers = items.ids.lookup([row["item_id"] for row in guest[1]["rows"]])
    assert len(numbers) == 6
    assert set(items.categories[numbers]) == {"category 2"}
    # No comparison holds for somebody without the attribute.
    assert without == (200, {"rows": []})


def test_lists_of_users_of_the_run_are_explored_as_in_a_file(recommender):
    users = ids_of(recommender, *range(1, 30))
    body = {"users": [*users, "guest"], "new_users": True, "k": 5, "explore": 0.5}
    ((status, content),) = post(recommender, ("recommend", body))
    assert status == 200
    rows = [row for row in content["rows"] if row["user_id"] != "guest"]
    assert not any(row["explored"] for row in content["rows"][len(rows) :])

    table = recommender.recommend(users, k=5, explore=0.5)
    assert set(table["explored"].to_pylist()) == {True, False}
    for column in ("user_id", "item_id", "explored"):
        assert [row[column] for row in rows] == table[column].to_pylist()


def events_of(recommender: Recommender, user: str, *items: int) -> list[dict]:
    """Events of the newest time of the World, so that the present does not change."""
    world = recommender.engine.world
    time = int(world.events.times.max())
    names = world.items.ids[list(items)]
    return [
        {"user_id": user, "item_id": name, "timestamp": time, "event_type": world.event_types[-1]}
        for name in names
    ]


def test_new_users_equal_those_of_histories(recommender):
    events = events_of(recommender, "guest", 3, 8) + events_of(recommender, "other", 5)
    body = {"users": ["guest", "other"], "events": events, "k": 6}
    (answer,) = post(recommender, ("recommend", body))
    assert_equals(recommender.recommend(k=6, histories=pa.Table.from_pylist(events)), answer)


def test_session_events_equal_a_world_that_has_them(recommender):
    world = recommender.engine.world
    last = world.num_users - 1  # whose events end the columns
    events = events_of(recommender, world.user_ids[last], 3, 8)
    old = world.events
    longer = dataclasses.replace(
        old,
        offsets=offsets_of(np.append(old.owners, [last, last]), world.num_users),
        items=np.append(old.items, np.int32([3, 8])),
        times=np.append(old.times, [old.times.max()] * 2),
        types=np.append(old.types, np.uint8([len(world.event_types) - 1] * 2)),
        values=np.append(old.values, np.float32([1, 1])),
    )
    engine = dataclasses.replace(
        recommender.engine, world=dataclasses.replace(world, events=longer)
    )
    users = ids_of(recommender, 4, last)
    (answer,) = post(recommender, ("recommend", {"users": users, "events": events, "k": 6}))
    assert_equals(Recommender(engine, NOW).recommend(users, k=6), answer)


def test_new_users_without_events_get_what_is_popular(recommender):
    body = {"users": ["nobody"], "new_users": True, "k": 3}
    ((status, content),) = post(recommender, ("recommend", body))
    assert status == 200
    assert {row["source"] for row in content["rows"]} == {"popular"}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("recommend", {"users": ["nobody"]}, 404, "user 'nobody' is unknown to this run"),
        ("recommend", {"users": ["u"], "kk": 1}, 422, "kk: unknown field"),
        ("recommend", {"users": ["u"], "k": "1"}, 422, "k: Input should be a valid integer"),
        ("recommend", {"users": ["u"], "new_users": True, "k": 900}, 422, "k is 900"),
        ("recommend", {"users": ["u", "u"], "new_users": True}, 422, "given twice"),
        ("recommend", {"users": ["u"], "new_users": True, "where": "a"}, 422, "where 'a'"),
        ("recommend", {"users": ["u"], "new_users": True, "where": "(" * 1999}, 422, "nested"),
        ("recommend", {"users": ["u"], "new_users": True, "block": ["?"]}, 404, "unknown"),
        ("recommend", {"users": ["u"], "new_users": True, "promote": "a"}, 422, "promote 'a'"),
        ("recommend", {"users": ["u"], "new_items": 2}, 422, "new_items: Input should be less"),
        ("recommend", {"users": ["u"], "attributes": {"v": {}}}, 404, "'u' is unknown"),
        (
            "recommend",
            {"users": ["u"], "new_users": True, "attributes": {"v": {}}},
            422,
            "attributes: 'v' is none of the users",
        ),
        (
            "recommend",
            {"users": ["u"], "new_users": True, "attributes": {"u": {"town": ""}}},
            422,
            "no 'town'; known: region",
        ),
        ("recommend", b"{", 422, "the body is no JSON"),
        ("recommend", b"[]", 422, "Content-Type: application/json"),
        ("similar", {"items": ["nothing"]}, 404, "unknown to this run, first 'nothing'"),
        ("search", {"queries": []}, 422, "queries: List should have at least 1 item"),
        ("audience", {}, 422, "give one of items, categories and tags"),
        ("recommend", {"users": ["u"], "new_users": True, "allow": []}, 404, "allow and avail"),
        ("nothing", {}, 404, "GET /openapi.json"),
        ("health", {}, 405, "/health takes GET alone"),
    ],
)
def test_mistakes_are_one_line(recommender, path, body, status, message):
    ((found, content),) = post(recommender, (path, body))
    assert found == status
    assert message in content["error"]
    assert "\n" not in content["error"]
    assert "--" not in content["error"]
