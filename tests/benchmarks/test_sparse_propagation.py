"""Sparse propagation over a whole graph equals the dense matrix, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.work.sparse_propagation import SparsePropagation

N, E, D = 23, 90, 5


@pytest.fixture(scope="module")
def graph():
    """Edges with repetitions, loops and nodes that nobody knows; the dense matrix beside them."""
    rng = np.random.default_rng(0)
    senders, receivers = rng.integers(0, N - 3, E), rng.integers(2, N, E)
    weights = rng.random(E).astype(np.float32)
    dense = np.zeros((N, N), np.float32)
    np.add.at(dense, (receivers, senders), weights)
    return SparsePropagation.of(senders, receivers, weights, N), dense


def test_it_equals_the_dense_product(graph):
    propagation, dense = graph
    states = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    np.testing.assert_allclose(
        jax.jit(lambda p, h: p @ h)(propagation, states), dense @ states, rtol=1e-5, atol=1e-6
    )


def test_gradients_equal_the_dense_ones(graph):
    propagation, dense = graph
    states = np.random.default_rng(2).normal(size=(N, D)).astype(np.float32)

    def loss(product, h):
        return jnp.sum(jnp.tanh(product(jnp.tanh(product(h)))))

    found = jax.jit(lambda p, h: jax.grad(lambda h: loss(lambda x: p @ x, h))(h))(
        propagation, states
    )
    np.testing.assert_allclose(
        found, jax.grad(lambda h: loss(lambda x: dense @ x, h))(states), rtol=1e-4, atol=1e-5
    )


def test_a_graph_without_edges_sends_nothing():
    nothing = np.zeros(0, np.int32)
    propagation = SparsePropagation.of(nothing, nothing, np.zeros(0, np.float32), N)
    np.testing.assert_array_equal(propagation @ jnp.ones((N, D)), np.zeros((N, D)))
