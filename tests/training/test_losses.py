"""The chunked softmax equals the dense one; the sampled one estimates it without bias; weights
count as they should.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from socialrec_jax.models.items import normalise
from socialrec_jax.training import losses

TEMPERATURE = 0.1


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    users = normalise(jnp.asarray(rng.normal(size=(50, 8)), jnp.float32))
    items = normalise(jnp.asarray(rng.normal(size=(30, 8)), jnp.float32))
    weights = jnp.asarray(rng.random(50) > 0.2, jnp.float32) * 2
    return users, items, jnp.asarray(rng.integers(0, 30, 50)), weights


def dense(users, items, targets, weights):
    logits = users @ items.T / TEMPERATURE
    return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, targets) * weights)


@pytest.mark.parametrize("chunk_logits", [1, 200, 1 << 22])
def test_full_softmax_equals_the_dense_one_with_its_gradients(problem, chunk_logits, monkeypatch):
    monkeypatch.setattr(losses, "chunk_logits", lambda platform, memory: chunk_logits)
    users, items, targets, weights = problem
    with jax.checking_leaks():
        chunked = jax.value_and_grad(
            lambda u, i, w: losses.full_softmax(u, i, targets, w, TEMPERATURE).total,
            argnums=(0, 1, 2),
        )(users, items, weights)
    reference = jax.value_and_grad(lambda u, i, w: dense(u, i, targets, w), argnums=(0, 1, 2))(
        users, items, weights
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), chunked, reference
    )


def test_rows_after_the_last_item_count_for_nothing(problem):
    users, items, targets, weights = problem
    padded = jnp.concatenate([items, items[:5]])

    def loss(users, items, num_items=None):
        parts = users, items, targets, weights, TEMPERATURE
        return losses.full_softmax(*parts, num_items=num_items).total

    of_all = jax.value_and_grad(loss, argnums=(0, 1))(users, items)
    value, (of_users, of_items) = jax.value_and_grad(loss, argnums=(0, 1))(
        users, padded, jnp.int32(len(items))
    )
    assert not np.asarray(of_items[len(items) :]).any()
    found = value, (of_users, of_items[: len(items)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), found, of_all)


def test_half_precision_products_have_the_same_losses_and_gradients(problem):
    users, items, targets, weights = problem
    log_expected = jnp.zeros(len(items))

    def full(users, items, dtype):
        return losses.full_softmax(users, items, targets, weights, TEMPERATURE, dtype).total

    def sampled(users, items, dtype):
        ids = jnp.arange(len(items))
        rows = items[targets], items, targets, ids, log_expected, weights
        return losses.sampled_softmax(users, *rows, TEMPERATURE, dtype).total

    def tokens(users, items, dtype):
        return losses.next_token(users, 5 * items, targets, weights, dtype).total

    for loss in (full, sampled, tokens):
        value_and_gradients = jax.value_and_grad(loss, argnums=(0, 1))
        exact, gradients = value_and_gradients(users, items, jnp.float32)
        rounded, rounded_gradients = value_and_gradients(users, items, jnp.bfloat16)
        assert rounded.dtype == jnp.float32
        np.testing.assert_allclose(rounded, exact, rtol=1e-2)
        for one, other in zip(rounded_gradients, gradients, strict=True):
            assert np.linalg.norm(one - other) < 0.02 * np.linalg.norm(other)


def test_no_product_of_half_precision_takes_float32(problem):
    """Also those of the gradients: otherwise they would run at a fraction of the speed."""
    users, items, targets, weights = problem
    rows = items[targets], items, targets, jnp.arange(len(items)), jnp.zeros(len(items)), weights

    def total(users, items):
        full = losses.full_softmax(users, items, targets, weights, TEMPERATURE, jnp.bfloat16)
        sampled = losses.sampled_softmax(users, *rows, TEMPERATURE, jnp.bfloat16)
        return full.total + sampled.total

    text = jax.jit(jax.grad(total, argnums=(0, 1))).lower(users, items).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 5
    for line in products:
        operands = line.split(" : (")[1].split(") -> ")[0]
        assert "f32" not in operands.replace("bf16", ""), line


def test_an_accelerator_computes_more_logits_at_once_within_its_memory():
    memory = 20 << 30
    on_gpu = losses.chunk_logits("gpu", memory)
    assert losses.chunk_logits("cpu", memory) < on_gpu
    assert 3 * 4 * on_gpu < memory / 4, "logits, exponentials and a copy"
    assert on_gpu > 1000 * 200_000, "a thousand rows of a large catalogue"


def test_full_softmax_never_holds_tokens_times_catalogue():
    N, V, D = 2048, 20_000, 16
    shapes = (jax.ShapeDtypeStruct((N, D), jnp.float32), jax.ShapeDtypeStruct((V, D), jnp.float32))
    targets, weights = jnp.zeros(N, jnp.int32), jnp.ones(N)
    step = jax.grad(
        lambda u, i: losses.full_softmax(u, i, targets, weights, TEMPERATURE).total, argnums=(0, 1)
    )
    memory = jax.jit(step).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.5 * N * V * 4


def test_sampled_softmax_is_unbiased_in_the_exponentials(problem):
    users, items, targets, weights = problem
    probabilities = np.linspace(1, 5, 30)
    probabilities = probabilities / probabilities.sum()
    negatives = jnp.asarray(np.random.default_rng(1).choice(30, 60_000, p=probabilities))
    expected = jnp.log(len(negatives) * jnp.asarray(probabilities, jnp.float32))[negatives]
    sampled = losses.sampled_softmax(
        users, items[targets], items[negatives], targets, negatives, expected, weights, TEMPERATURE
    )
    assert float(sampled.total) == pytest.approx(float(dense(*problem)), rel=0.01)
    assert float(sampled.weight) == float(weights.sum())


def test_a_negative_that_is_the_target_does_not_count(problem):
    users, items, targets, _ = problem
    negatives = targets[:1]
    loss = losses.sampled_softmax(
        users[:1],
        items[targets[:1]],
        items[negatives],
        targets[:1],
        negatives,
        jnp.zeros(1),
        jnp.ones(1),
        TEMPERATURE,
    )
    assert float(loss.total) == pytest.approx(0, abs=1e-6)


def test_weight_zero_learns_nothing(problem):
    users, items, targets, weights = problem
    gradient = jax.grad(
        lambda u: losses.full_softmax(u, items, targets, weights, TEMPERATURE).total
    )(users)
    assert (np.asarray(gradient)[np.asarray(weights) == 0] == 0).all()


def test_next_type_divides_by_its_weight():
    logits = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
    loss = losses.next_type(logits, jnp.array([1, 0]), jnp.array([1.0, 0.0]))
    assert float(loss.mean()) == pytest.approx(-np.log(0.75), rel=1e-6)
