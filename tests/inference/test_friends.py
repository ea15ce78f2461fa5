"""A user's scores depend on friends' events before the query time, and on nothing later."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.query import Query, newcomers, query_as_of
from socialrec_jax.data.world import (
    BEFORE_TEST,
    BEFORE_VALIDATION,
    NO_TIME,
    NOW,
    TEST,
    VALIDATION,
    World,
)
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import training_batches
from tests.parameters import perturbed
from tests.worlds import events_of, leave_one_out, random_edges, random_world, with_friends

FIRST, USERS = 1_000_000, 60
QUERY_TIME = FIRST + 6 * 3600
AS_OF = AsOf.time(QUERY_TIME)
SPAN = (FIRST - 20_000, FIRST + 40_000)
ALL = np.arange(USERS)


def config_of(**settings) -> Config:
    return Config(
        model=ModelConfig(
            width=16, num_heads=2, num_layers=1, history_length=16, dropout=0.0, **settings
        ),
        train=dataclasses.replace(Config().train, tokens_per_step=128),
    )


def random_params(world: World, config: Config) -> dict:
    """Parameters away from their start, an open gate among them."""
    model = model_for(config, world)
    batch = training_batches(world, config, world.history_ends(BEFORE_VALIDATION)).at(0)
    return perturbed(jax.jit(model.init)(jax.random.key(0), batch)["params"])


def engine_of(world: World, params: dict, config: Config) -> Engine:
    return Engine.create(world, config, model_for(config, world), params)


@pytest.fixture(scope="module")
def social(tmp_path_factory):
    """(World, params): sparse friendships, a third of them of unknown age."""
    world = random_world(tmp_path_factory.mktemp("world"), USERS)
    edges = random_edges(USERS, 90, SPAN)
    edges = [(u, f, w, int(NO_TIME) if n % 3 == 0 else t) for n, (u, f, w, t) in enumerate(edges)]
    world = with_friends(world, edges)
    return world, random_params(world, config_of())


def states(
    world: World, params: dict, as_of: AsOf = AS_OF, users: np.ndarray = ALL, **settings
) -> np.ndarray:
    engine = engine_of(world, params, config_of(**settings))
    return engine.states(engine.query(users, as_of))


def scores(world: World, params: dict, as_of: AsOf) -> np.ndarray:
    """Scores [U, V] as they are served."""
    table = np.zeros((world.num_users, world.num_items))
    engine = engine_of(world, params, config_of())
    query = engine.query(np.arange(world.num_users), as_of)
    for part in engine.recommend(query, k=world.num_items, repeats=True):
        np.put_along_axis(table[part.users[0] : part.users[-1] + 1], part.items, part.scores, 1)
    return table


def edges_of(world: World) -> list[tuple]:
    f = world.friends
    users = np.repeat(ALL, np.diff(f.offsets))
    return list(
        zip(users.tolist(), f.ids.tolist(), f.weights.tolist(), f.times.tolist(), strict=True)
    )


def with_times(world: World, times: np.ndarray) -> World:
    return dataclasses.replace(world, events=dataclasses.replace(world.events, times=times))


def test_a_closed_gate_equals_a_model_without_friends(social):
    world, params = social
    shut = params | {"social": params["social"] | {"gate": np.zeros(16, np.float32)}}
    without = {name: part for name, part in params.items() if name != "social"}
    alone = states(world, without, social_queries=0)
    np.testing.assert_allclose(states(world, shut), alone, atol=1e-6)
    assert np.abs(states(world, params) - alone).max() > 0.1


def test_what_happens_at_or_after_the_query_time_changes_no_score(social):
    world, params = social
    rng = np.random.default_rng(0)
    before = scores(world, params, AS_OF)
    for _ in range(3):
        times = world.events.times.copy()
        later = times >= QUERY_TIME
        owners = world.events.owners[later]
        moved = QUERY_TIME + rng.integers(0, 50_000, later.sum())
        times[later] = moved[np.lexsort((moved, owners))]
        edges = [
            (u, f, w, t if t < QUERY_TIME else int(rng.integers(QUERY_TIME, SPAN[1])))
            for u, f, w, t in edges_of(world)
        ]
        np.testing.assert_array_equal(
            scores(with_friends(with_times(world, times), edges), params, AS_OF), before
        )


@pytest.mark.parametrize("as_of", [AS_OF, BEFORE_TEST])
def test_an_earlier_event_of_a_friend_changes_scores(social, as_of):
    world, params = social
    query_times, history_ends = world.query_times(as_of), world.history_ends(as_of)

    def last(user: int, friend: int) -> int:
        return (
            min(
                world.events.ends_before(np.array([friend]), query_times[[user]])[0],
                history_ends[friend],
            )
            - 1
        )

    old = ((u, f) for u, f, _, t in edges_of(world) if t < query_times[u])
    user, friend = next((u, f) for u, f in old if last(u, f) >= world.events.offsets[f])
    row = last(user, friend)
    earlier = world.events.times.copy()
    earlier[world.events.offsets[friend] : row + 1] -= 1_000_000
    items = world.events.items.copy()
    items[row] = (items[row] + 1) % world.num_items
    other = dataclasses.replace(world, events=dataclasses.replace(world.events, items=items))
    before = scores(world, params, as_of)[user]
    for changed in (with_times(world, earlier), other):
        assert np.abs(scores(changed, params, as_of)[user] - before).max() > 1e-4


def test_held_out_events_of_friends_are_never_seen(social):
    world, params = social
    for part in (VALIDATION, TEST):
        hidden = world.event_splits >= part
        items = np.where(hidden, (world.events.items + 7) % world.num_items, world.events.items)
        other = dataclasses.replace(world, events=dataclasses.replace(world.events, items=items))
        as_of = AsOf.before(part)
        np.testing.assert_array_equal(scores(other, params, as_of), scores(world, params, as_of))
        late = dataclasses.replace(world, manifest=world.manifest | {"split": "time"})
        other = dataclasses.replace(other, manifest=late.manifest)
        np.testing.assert_array_equal(scores(other, params, as_of), scores(late, params, as_of))


def test_distant_users_change_nothing(social):
    world, params = social
    before = states(world, params)
    edges = edges_of(world)
    near = [{u} | {f for v, f, *_ in edges if v == u} for u in ALL]
    near = [set().union(*(near[f] for f in near[u])) for u in ALL]
    x = min(ALL, key=lambda user: sum(user in some for some in near))
    y = next(u for u in ALL if u not in near[x] and len(near[u]) > 1)
    more = states(with_friends(world, [*edges, (int(x), int(y), 1.0, int(NO_TIME))]), params)
    far = np.array([x not in some for some in near])
    assert far.sum() > USERS // 2
    np.testing.assert_allclose(more[far], before[far], atol=1e-6)
    assert np.abs(more[x] - before[x]).max() > 1e-3


def test_a_user_without_friends_changes_nothing(social):
    world, params = social
    before = states(world, params)
    e = world.events
    events = dataclasses.replace(
        e,
        offsets=np.append(e.offsets, e.offsets[-1] + 2),
        **{
            name: np.append(getattr(e, name), getattr(e, name)[-2:])
            for name in ("items", "times", "types", "values")
        },
    )
    larger = with_friends(
        dataclasses.replace(
            world,
            events=events,
            event_splits=leave_one_out(events),
            user_ids=type(world.user_ids).of(["u"] * 61),
        ),
        edges_of(world),
    )
    features = params["social"]["features"]
    table = np.concatenate([features["users"], np.ones((1, 16), np.float32)])
    params = params | {"social": params["social"] | {"features": features | {"users": table}}}
    np.testing.assert_allclose(states(larger, params), before, atol=1e-6)


def test_direction_weight_and_age_of_a_friendship_matter(social):
    world, params = social
    edges = edges_of(world)
    before = states(world, params)
    others = {
        "direction": [(f, u, w, t) for u, f, w, t in edges],
        "weight": [(u, f, w * (1 + 3 * (f % 2)), t) for u, f, w, t in edges],
        "age": [(u, f, w, QUERY_TIME) for u, f, w, t in edges],
    }
    for name, changed in others.items():
        assert np.abs(states(with_friends(world, changed), params) - before).max() > 1e-3, name


@pytest.mark.parametrize("request_time", [False, True])
def test_training_equals_serving_at_social_positions(social, request_time):
    world, _ = social
    config = config_of(request_time=request_time)
    params = random_params(world, config)
    # Step 0 samples the friends that serving samples.
    model = model_for(config, world)
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    batch = batches.at(0)
    owners = world.events.owners[batches.indices(0).sources]
    encode = jax.jit(lambda batch: model.bind({"params": params}).encode_users(batch))
    trained = np.asarray(encode(batch))
    rows, queries = np.nonzero(batch.friends.users[..., 0] >= 0)
    columns = batch.social_positions[rows, queries]
    users, items = owners[rows, columns], batch.items[rows, columns]
    starts, stops = world.events.offsets[users], world.events.offsets[users + 1]
    history_ends = np.array(
        [
            a + list(world.events.items[a:b]).index(i) + 1
            for a, b, i in zip(starts, stops, items, strict=True)
        ]
    )
    request_times = world.events.times[history_ends] if request_time else None
    engine = engine_of(world, params, config)
    query = Query(
        world.events,
        users,
        history_ends,
        query_times=world.events.times[history_ends - 1],
        request_times=request_times,
        as_of=BEFORE_VALIDATION,
    )
    found = engine.states(engine.with_friends(query))
    np.testing.assert_allclose(found, trained[rows, columns], atol=2e-5)
    plain = encode(batch.replace(social_positions=None, friends=None))
    assert np.abs(found - np.asarray(plain)[rows, columns]).max() > 1e-2


def test_evaluation_has_the_queries_of_serving(social):
    world, _ = social
    for part in (VALIDATION, TEST):
        queries = protocol.held_out(world, part)
        query = query_as_of(world, queries.users, AsOf.before(part))
        np.testing.assert_array_equal(queries.query.query_times, query.query_times)
        np.testing.assert_array_equal(queries.query.history_ends, query.history_ends)
        first = queries.target_rows[queries.targets.offsets[:-1]]
        np.testing.assert_array_equal(queries.query.request_times, world.events.times[first])
        assert (queries.query.query_times <= world.events.times[first]).all()


def test_a_user_without_history_has_a_state_of_zeros(tmp_path):
    events = events_of([[1, 2, 3, 4], [5, 6, 7], [], []])
    world = dataclasses.replace(
        random_world(tmp_path, 4), events=events, event_splits=leave_one_out(events)
    )
    world = with_friends(world, [(2, 0, 1.0, int(NO_TIME)), (1, 0, 1.0, int(NO_TIME))])
    found = states(world, random_params(world, config_of()), NOW, np.arange(4))
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 0, 0], abs=1e-3)


def test_unknown_users_have_no_friends(social):
    world, params = social
    engine = engine_of(world, params, config_of())
    found = engine.states(newcomers(world.events, ALL))
    without = {name: part for name, part in params.items() if name != "social"}
    np.testing.assert_allclose(found, states(world, without, NOW, social_queries=0), atol=1e-6)
    assert np.abs(found - states(world, params, NOW)).max() > 1e-3, "the World knows them"


def test_a_model_without_friends_has_nothing_social(social, tmp_path):
    world, _ = social
    for config, some in (
        (config_of(social_queries=0), world),
        (config_of(), random_world(tmp_path)),
    ):
        assert "social" not in random_params(some, config)
        assert (
            training_batches(some, config, some.history_ends(BEFORE_VALIDATION)).at(0).friends
            is None
        )
