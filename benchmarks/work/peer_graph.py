"""A graph convolution over a whole graph with fixed edges, as PyTorch Geometric is measured.

Two ways: sums of messages by jraph, as the product sums its trees of friends, and products of
sparse rows, which the product does not run.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from socialrec_jax.models.propagation import Propagation

from benchmarks.harness.cases import expect_close

# Each edge is visited by two layers, forward and backward.
_VISITS = 4


def graph(file: Path, width: int, repeats: int) -> dict:
    """Two layers, forward and backward; raises WrongResult unless both ways have the same
    gradients.
    """
    with np.load(file) as columns:
        num_nodes = int(columns["num_nodes"])
        edges = [columns[name] for name in ("senders", "receivers", "weights")]
    inputs = _random_inputs(num_nodes, width)
    # Building the matrices is not timed: the edges stay the same in training.
    sparse_rows = Propagation.of(*edges, num_nodes=num_nodes)
    seconds, gradients = _time(operator.matmul, sparse_rows, inputs, repeats)
    message_seconds, expected = _time(_sum_messages, jax.device_put(edges), inputs, repeats)
    expect_close("gradients by sparse rows", gradients, expected, tolerance=1e-3)
    visits = _VISITS * len(edges[0])
    return {
        "system": "socialrec_jax",
        "edge_visits_per_second": {
            "sparse rows (not in the product)": visits / seconds,
            "messages": visits / message_seconds,
        },
    }


def _random_inputs(num_nodes: int, width: int) -> tuple[list[jax.Array], jax.Array]:
    """(weights of two layers [D, D], features of the nodes [N, D])."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(width, width)) * width**-0.5 for _ in range(2)]
    features = rng.normal(size=(num_nodes, width))
    weights = [jnp.asarray(weight, jnp.float32) for weight in weights]
    return weights, jnp.asarray(features, jnp.float32)


def _sum_messages(edges: Any, states: Any) -> jax.Array:
    """The sum of the messages at each node [N, D], by jraph."""
    senders, receivers, weights = edges
    messages = weights[:, None] * states[senders]
    return jraph.segment_sum(messages, receivers, len(states), indices_are_sorted=True)


def _time(
    propagate: Callable, edges: Any, inputs: tuple[list[jax.Array], jax.Array], repeats: int
) -> tuple[float, jax.Array]:
    """(seconds of one forward and backward pass, gradient of the nodes' features)."""

    def loss(weights: list[jax.Array], features: jax.Array, edges: Any) -> jax.Array:
        hidden = jax.nn.relu(propagate(edges, features @ weights[0]))
        return jnp.mean(jnp.square(propagate(edges, hidden @ weights[1])))

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    # The first time compiles.
    gradients = jax.block_until_ready(step(*inputs, edges))
    start = time.perf_counter()
    for _ in range(repeats):
        gradients = jax.block_until_ready(step(*inputs, edges))
    return (time.perf_counter() - start) / repeats, gradients[1]
