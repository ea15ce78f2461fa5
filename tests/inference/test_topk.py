"""The k largest through blocks are those of a sort, in its order."""

import jax
import numpy as np
import pytest

from socialrec_jax.inference.topk import top_k, top_k_and_log_total


def by_sorting(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Higher scores first, among equals the earlier place."""
    places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, places, axis=1), places


SCORES = {
    "distinct": lambda rng, shape: rng.normal(size=shape),
    "few levels": lambda rng, shape: rng.integers(0, 4, shape),
    "all alike": lambda rng, shape: np.zeros(shape),
    "nearly all masked": lambda rng, shape: np.where(
        rng.random(shape) < 0.001, rng.integers(0, 3, shape), -np.inf
    ),
    "the best at the end": lambda rng, shape: np.arange(shape[1]) // 3 + np.zeros(shape),
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize(
    "num_items", [12, 10_240, 10_271]
)  # too few for blocks, whole blocks, a rest
def test_scores_and_places_are_those_of_a_sort(kind, k, num_items):
    scores = SCORES[kind](np.random.default_rng(0), (4, num_items)).astype(np.float32)
    best, places = jax.jit(top_k, static_argnums=1)(scores, k)
    expected, where = by_sorting(scores, k)
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(places, where)


def test_what_is_ranked_shrinks_by_a_block():
    """No whole row is ranked: the two that are have the maxima of blocks and k blocks."""
    assert ranked_columns(32_000, least_blocks=32) == [1000, 320]


def test_many_maxima_are_ranked_by_blocks_too():
    assert ranked_columns(320_000, least_blocks=8) == [312, 10 * 32 + 16, 320]


def ranked_columns(num_columns: int, least_blocks: int) -> list[int]:
    """The numbers of columns that `jax.lax.top_k` is given for the ten best of num_columns."""
    scores = np.zeros((2, num_columns), np.float32)
    program = jax.make_jaxpr(lambda scores: top_k(scores, 10, least_blocks))(scores)
    return [
        equation.invars[0].aval.shape[1]
        for equation in program.eqns
        if equation.primitive.name == "top_k"
    ]


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("num_items", [12, 10_240, 10_271])
def test_one_reading_gives_the_same_places_and_log_sum_exp(kind, num_items):
    scores = SCORES[kind](np.random.default_rng(0), (4, num_items)).astype(np.float32)
    # Scores of one row that are all masked, and an infinite one.
    scores[1] = -np.inf
    scores[2, 3] = np.inf
    search = jax.jit(top_k_and_log_total, static_argnums=(2, 3))
    results = search(scores, scores, 10, 4, np.full(4, 7, np.float32))
    expected = search(scores, scores, 10, 4, None)
    np.testing.assert_array_equal(results[0], expected[0])
    np.testing.assert_array_equal(results[1], expected[1])
    # The shifts are for scores that are near them.
    for row in (0, 3):
        if abs(expected[2][row] - 7) < 60:
            np.testing.assert_allclose(results[2][row], expected[2][row], rtol=1e-6)
    np.testing.assert_array_equal(expected[2][1:3], [-np.inf, np.inf])
    np.testing.assert_array_equal(results[2][1:3], expected[2][1:3])
