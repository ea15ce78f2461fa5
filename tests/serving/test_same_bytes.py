"""A row has the same bytes alone, among others and in any order."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pyarrow as pa
import pytest

from socialrec_jax.data.text.tokenizer import Texts
from socialrec_jax.data.world import NOW
from socialrec_jax.inference.text_encoder import pool_alone
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.serving.recommender import Recommender
from tests.inference.test_reranker import ranked_engine

# XLA's own choice of kernels is the point.
pytestmark = pytest.mark.optimized

SIZES = (1, 7, 300)


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    """With a ranker. The programs that draw its parameters answer nothing and are not optimised."""
    jax.config.update("jax_disable_most_optimizations", True)
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    jax.config.update("jax_disable_most_optimizations", False)
    # Those that answer too were compiled.
    jax.clear_caches()
    return Recommender(engine, NOW)


def selections(num_users: int) -> list[np.ndarray]:
    """Users of each size; some of the largest come several times."""
    rng = np.random.default_rng(0)
    return [rng.permutation(np.arange(size) % num_users) for size in SIZES]


def rows_by_key(table: pa.Table, keys: list[str]) -> dict[tuple, dict]:
    return {tuple(row[key] for key in keys): row for row in table.to_pylist()}


@pytest.mark.parametrize(
    ("task", "keys"), [("recommend", ["user_id", "rank"]), ("profile", ["user_id"])]
)
def test_a_user_has_the_same_rows_whoever_else_comes(recommender, task, keys):
    same_rows_whoever_else_comes(recommender, task, keys)


def test_so_it_is_without_a_ranker(recommender):
    engine = dataclasses.replace(recommender.engine, reranker=None)
    same_rows_whoever_else_comes(Recommender(engine, NOW), "recommend", ["user_id", "rank"])


def same_rows_whoever_else_comes(recommender: Recommender, task: str, keys: list[str]) -> None:
    answer = getattr(recommender, task)
    user_ids = recommender.engine.world.user_ids
    expected = rows_by_key(answer(), keys)
    for users in selections(len(user_ids)):
        answered = rows_by_key(answer([user_ids[user] for user in users]), keys)
        assert {key[0] for key in answered} == {user_ids[user] for user in users}
        assert answered == {key: expected[key] for key in answered}


def test_a_pair_has_the_same_row_whoever_else_comes(recommender):
    world = recommender.engine.world
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, world.num_users, 300), rng.integers(0, world.num_items, 300)
    names = {
        "user_id": np.array(world.user_ids.tolist())[users],
        "item_id": np.array(world.items.ids.tolist())[items],
    }
    expected = recommender.score(pa.table(names)).to_pylist()
    for rows in selections(300):
        some = {name: column[rows] for name, column in names.items()}
        answered = recommender.score(pa.table(some)).to_pylist()
        assert answered == [expected[row] for row in rows]


def test_a_text_has_the_same_vector_whatever_else_is_read():
    rng = np.random.default_rng(2)
    lengths = rng.integers(0, 33, 300)
    tokens = [rng.integers(0, 50, length).astype(np.int32) for length in lengths]
    model = GPT2(GPT2Sizes(vocab_size=50, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    row = np.ones((1, 32), np.int32)
    params = jax.jit(model.init)(jax.random.key(0), row, row)["params"]
    weights = rng.random(50).astype(np.float32)

    def vectors(numbers: np.ndarray) -> np.ndarray:
        offsets = np.concatenate([[0], np.cumsum(lengths[numbers])])
        texts = Texts(offsets, np.concatenate([tokens[number] for number in numbers]))
        return pool_alone(model, params, texts, 32, weights)

    expected = vectors(np.arange(300))
    for numbers in selections(300):
        np.testing.assert_array_equal(vectors(numbers), expected[numbers])
