"""Each arm takes away what it says and nothing else; the suite runs, and a finished run is not
trained again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from benchmarks import quality
from socialrec_jax.config import Config, ModelConfig, TextConfig, TrainConfig
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.evaluation import baselines
from socialrec_jax.training import ranker
from tests.worlds import random_edges, random_world, with_friends, with_texts

USERS = 60


def edges_of(world: World) -> list[tuple[int, int, float, int]]:
    f = world.friends
    owners = np.repeat(np.arange(world.num_users), np.diff(f.offsets))
    return list(
        zip(*(column.tolist() for column in (owners, f.ids, f.weights, f.times)), strict=True)
    )


@pytest.fixture(params=["both ends", "one end", "crowded"])
def social(tmp_path, request) -> World:
    """A World whose friendships are stored at both ends, or at one; crowded: a few users have most
    friends.
    """
    edges = random_edges(USERS, 300, (1000, 2000))
    if request.param == "crowded":
        edges = [(u, f % 15, w, t) for u, f, w, t in edges if u > 30]
    if request.param != "one end":
        once = {(min(u, f), max(u, f)): (w, t) for u, f, w, t in edges}
        edges = [e for (u, f), wt in once.items() for e in ((u, f, *wt), (f, u, *wt))]
    return with_friends(random_world(tmp_path, USERS), edges)


@pytest.mark.parametrize("seed", range(3))
def test_other_friends_are_as_many_and_others(social, seed):
    before, after = edges_of(social), edges_of(other := quality.with_other_friends(social, seed))
    for end in (0, 1):
        assert Counter(e[end] for e in after) == Counter(e[end] for e in before)
    pairs = [e[:2] for e in after]
    assert all(u != f for u, f in pairs), "nobody is their own friend"
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs), "sorted by user and friend"
    assert sorted(e[2:] for e in after) == sorted(e[2:] for e in before)

    def is_symmetric(edges) -> bool:
        return {(f, u, w, t) for u, f, w, t in edges} == set(edges)

    assert is_symmetric(after) == is_symmetric(before)
    assert len(set(pairs) & {e[:2] for e in before}) < 0.6 * len(pairs)
    assert edges_of(quality.with_other_friends(social, seed)) == after
    assert edges_of(quality.with_other_friends(social, seed + 1)) != after
    assert other.events is social.events


def test_an_arm_without_friends_or_texts_has_none_and_keeps_the_rest(world):
    world = with_friends(world, random_edges(USERS, 90, 1000))
    full = with_texts(world, titles=["red lamp"] * 40, tags=["a|b"] * 40)
    lonely, mute, bare = (
        quality.ARMS[arm](full, 0) for arm in ("no friends", "no text", "behavior only")
    )
    for changed, friends, text in (
        (lonely, False, True),
        (mute, True, False),
        (bare, False, False),
    ):
        assert bool(edges_of(changed)) == friends
        assert len(changed.friends.offsets) == USERS + 1
        assert any(product_texts(changed.items)) == text
        assert changed.items.ids is full.items.ids
        assert changed.events is full.events
    assert quality.ARMS["all"](full, 0) is full
    fixed = dataclasses.replace(full.items, vectors=np.ones((40, 3), np.float32))
    assert quality.without_text(dataclasses.replace(full, items=fixed), 0).items.vectors.shape == (
        40,
        0,
    )


def test_without_order_the_same_was_done_in_another_order(world):
    values = np.random.default_rng(0).random(len(world.events.items)).astype(np.float32)
    world = dataclasses.replace(world, events=dataclasses.replace(world.events, values=values))
    history_ends = world.history_ends(BEFORE_VALIDATION)
    changed = quality.without_order(world, 1)

    def did(w: World, begin: int, end: int) -> list[tuple]:
        return list(
            zip(
                *(getattr(w.events, n)[begin:end].tolist() for n in ("items", "types", "values")),
                strict=True,
            )
        )

    for start, end, stop in zip(
        world.events.starts, history_ends, world.events.offsets[1:], strict=True
    ):
        assert Counter(did(changed, start, end)) == Counter(did(world, start, end))
        assert did(changed, end, stop) == did(world, end, stop), "what is held out stays"
    assert (changed.events.items != world.events.items).mean() > 0.3
    np.testing.assert_array_equal(changed.events.times, world.events.times)
    again, other = (quality.without_order(world, seed).events.items for seed in (1, 2))
    np.testing.assert_array_equal(again, changed.events.items)
    assert (other != changed.events.items).any()


def test_a_summary_is_mean_deviation_and_values_over_the_seeds():
    rng = np.random.default_rng(0)
    runs = [
        {
            model: {m: float(rng.random()) for m in quality.METRICS}
            for model in ("ranker", "popular")
        }
        for _ in "123"
    ]
    found = quality.summary(runs)
    for model, metrics in found.items():
        for metric, figures in metrics.items():
            values = [run[model][metric] for run in runs]
            assert figures["values"] == [round(v, 5) for v in values]
            assert figures["mean"] == pytest.approx(np.mean(values), abs=1e-5)
            assert figures["deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    assert quality.summary(runs[:1])["ranker"]["hr@10"]["deviation"] == 0


def test_a_suite_trains_every_arm_once(tmp_path, world, monkeypatch):
    monkeypatch.setattr(baselines, "_CHOICES", {})
    monkeypatch.setattr(baselines, "_NEIGHBOUR_CHOICES", {})
    monkeypatch.setattr(ranker, "steps_for", lambda _: 16)
    facts = {
        "counts": {"users": USERS, "items": 40, "events": len(world.events.items)},
        "time_max": 2_000_000,
    }
    world = dataclasses.replace(world, manifest=world.manifest | facts)
    config = Config(
        model=ModelConfig(width=16, num_heads=2, num_layers=1, history_length=8, dropout=0.1),
        train=TrainConfig(tokens_per_step=128, epochs=2, evaluations=1, steps_per_call=8),
        text=TextConfig(vocabulary=300, epochs=1),
    )
    arms, folder = ["all", "no order"], tmp_path / "runs"
    results = quality.run_suite(world, config, arms, [0], folder)
    logs = {path: path.read_bytes() for path in sorted(folder.glob("*/metrics.jsonl"))}
    assert [path.parent.name for path in logs] == ["all-0", "no-order-0"]
    for arm in arms:
        for part in ("validation", "test"):
            assert {"ranker", "retriever", "item cosine", "user neighbours"} <= results[arm][
                part
            ].keys()
            assert all(
                0 <= figures["mean"] <= 1
                for m in results[arm][part].values()
                for figures in m.values()
            )
    assert results["all"]["test"]["popular"] == results["no order"]["test"]["popular"]
    assert results["all"]["test"]["item cosine"] != results["no order"]["test"]["item cosine"]
    assert quality.run_suite(world, config, ["all"], [0], folder) == {"all": results["all"]}
    assert {path: path.read_bytes() for path in logs} == logs, "nothing is trained again"
    rows = quality.table(results).splitlines()
    assert sum("| all |" in row for row in rows) == len(results["all"]["test"])
    assert sum("| no order |" in row for row in rows) == 2
