"""Top-k is exact, ranks count ties against us, masks hold, and chunks change nothing."""

import functools

import jax
import numpy as np
import pytest

from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference import tuning
from socialrec_jax.inference.index import UNRANKED, Index
from socialrec_jax.inference.scores import Score, with_fallback
from socialrec_jax.inference.tuning import SearchTuning
from socialrec_jax.runtime import parallel
from tests.evaluation.dense import dense_index


def pairs(lists):
    lengths = np.array([len(entry) for entry in lists])
    flat = [item for entry in lists for item in entry]
    return Pairs(np.concatenate([[0], np.cumsum(lengths)]), np.array(flat, np.int32))


ITEMS = 200
# All queries at once, or 8 of them.
TUNINGS = {
    "one chunk": SearchTuning(1 << 26, least_blocks=32),
    "many chunks": SearchTuning(1 << 13, least_blocks=32),
    "many chunks as on an accelerator": SearchTuning(1 << 13, least_blocks=1),
}


@pytest.fixture(params=TUNINGS)
def index(request):
    """An index of queries that are scores already."""
    return Index(Score(lambda _, scores: scores), ITEMS, tuning=TUNINGS[request.param])


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (37, ITEMS)).astype(np.float32)  # integers: plenty of ties
    seen = [list(rng.permutation(ITEMS)[: rng.integers(0, 90)]) for _ in range(37)]
    return scores, seen


def masked(scores, seen):
    scores = scores.copy()
    for row, items in enumerate(seen):
        scores[row, items] = -np.inf
    return scores


def test_top_is_exact(index, scored):
    scores, seen = scored
    parts = list(index.top(parallel.replicate(0.0), scores, pairs(seen), 5))
    best = np.concatenate([part[1] for part in parts])
    items = np.concatenate([part[0] for part in parts])
    expected = masked(scores, seen)
    np.testing.assert_array_equal(best, -np.sort(-expected, axis=1)[:, :5])
    np.testing.assert_array_equal(np.take_along_axis(expected, items, 1), best)
    total = np.concatenate([part[2] for part in parts])
    np.testing.assert_allclose(total, np.log(np.exp(expected).sum(1)), rtol=1e-5)


def test_top_among_allowed_items_only(index, scored):
    scores, seen = scored
    allowed = np.zeros(ITEMS, bool)
    allowed[[3, 4, 5]] = True
    for items, best, _ in index.top(parallel.replicate(0.0), scores, pairs(seen), 5, allowed):
        assert set(items[np.isfinite(best)]) <= {3, 4, 5}


def test_totals_depend_neither_on_what_is_listed_nor_on_how_many(index, scored):
    scores, seen = scored
    allowed, counted = np.arange(ITEMS) < 5, np.arange(ITEMS) % 2 == 0
    for k, some, repeats in ((5, None, False), (2, allowed, False), (9, None, True)):
        parts = list(
            index.top(
                parallel.replicate(0.0),
                scores,
                pairs(seen),
                k,
                some,
                counted=counted,
                repeats=repeats,
            )
        )
        total = np.concatenate([part.log_totals for part in parts])
        expected = masked(scores, seen)[:, counted]
        np.testing.assert_allclose(total, np.log(np.exp(expected).sum(1)), rtol=1e-5)


def test_with_repeats_seen_items_are_listed_too(index, scored):
    scores, seen = scored
    parts = list(index.top(parallel.replicate(0.0), scores, pairs(seen), 5, repeats=True))
    best = np.concatenate([part.scores for part in parts])
    np.testing.assert_array_equal(best, -np.sort(-scores, axis=1)[:, :5])


def test_ranks_count_ties_against_us(index, scored):
    scores, seen = scored
    rng = np.random.default_rng(1)
    targets = [list(rng.permutation(ITEMS)[: rng.integers(1, 4)]) for _ in range(37)]
    ranks, top = index.ranks(parallel.replicate(0.0), scores, pairs(seen), pairs(targets), 3)
    expected, at = masked(scores, seen), 0
    for row, items in enumerate(targets):
        for item in items:
            own = expected[row, item]
            others = np.delete(expected[row], item)
            assert ranks[at] == (UNRANKED if np.isinf(own) else 1 + (others >= own).sum())
            at += 1
    assert at == len(ranks)
    assert top.shape == (37, 3)


def test_scores_that_are_no_numbers_earn_nothing():
    scores = np.full((1, 4), np.nan, np.float32)
    ranks, _ = dense_index(4).ranks(parallel.replicate(0.0), scores, pairs([[]]), pairs([[2]]), 2)
    assert ranks.tolist() == [UNRANKED]


def test_a_user_without_history_gets_the_fallback():
    catalogue = np.eye(4, dtype=np.float32)
    fallback = np.array([0, 3, 1, 2], np.float32)
    users = np.array([[0, 0, 0, 0], [0, 0, 1, 0]], np.float32)
    index = Index(with_fallback(0.1), 4)
    (items, *_), *_ = index.top(
        parallel.replicate((catalogue, fallback)), users, pairs([[], []]), 4
    )
    assert items[0].tolist() == [1, 3, 2, 0]
    assert items[1, 0] == 2


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_search_lowers_for_accelerators(platform, monkeypatch):
    monkeypatch.setattr(tuning, "current_platform", lambda: platform)
    large = SearchTuning(1 << 30, least_blocks=4)
    score = with_fallback(0.1)
    program = functools.partial(Index(score, 20_000, tuning=large).top_of_chunk, 100, False)

    catalogue, fallback = np.zeros((20_000, 64), np.float32), np.zeros(20_000, np.float32)
    masks = (np.ones(20_000, bool), np.ones(20_000, bool))
    shared = ((catalogue, fallback), masks)
    chunk = (np.zeros((256, 64), np.float32), *np.zeros((2, 4096), np.int32))
    lowered = jax.jit(program).trace(shared, chunk).lower(lowering_platforms=(platform,))

    # No rounding of the factors to TF32 or to a single bfloat16.
    exact = (
        "num_primitive_operations = 6" if platform == "cuda" else "precision = [HIGHEST, HIGHEST]"
    )
    (product,) = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert exact in product


def test_searches_with_other_seen_items_share_a_program():
    index = Index(Score(lambda _, scores: scores), ITEMS, tuning=TUNINGS["many chunks"])
    scores = np.zeros((37, ITEMS), np.float32)
    # The last chunk is short, and the second has most seen items.
    seen = pairs([[1] * (90 if row == 9 else row % 5) for row in range(37)])
    chunks = list(index._chunks(scores, seen))
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(chunk[1:])) for chunk in chunks}
    assert len(chunks) == 5
    assert len(shapes) == 1


def test_history_is_what_lies_before_the_query(world):
    users = np.array([3, 0])
    seen = world.events.histories(users, world.history_ends()[users] - 1)
    start, end = world.events.offsets[3:5]
    np.testing.assert_array_equal(
        seen.items[: seen.offsets[1]], world.events.items[start : end - 1]
    )
