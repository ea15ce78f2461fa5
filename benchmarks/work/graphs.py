"""The friends' graph convolution over one whole random graph.

The product convolves sampled trees of friends in the same way; one large graph shows what an edge
costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, expect_close
from benchmarks.harness.workloads import GRAPHS
from benchmarks.work.steps import FLOAT32_TOLERANCE, descend, expect_loss
from socialrec_jax.models.social import SocialGCN, normalised_sum


def convolution(name: str) -> Work:
    """Forward and backward pass over one whole graph."""
    workload, rng = GRAPHS[name], np.random.default_rng(0)
    N, E, D = workload.nodes, workload.edges, workload.width
    graph = random_graph(N, E, D, rng)
    model = SocialGCN(D)
    params = jax.jit(model.init)(jax.random.key(0), graph)["params"]
    call = descend(_loss_of(model))

    def check(carry) -> str:
        _check_sums(graph, rng.integers(0, N, 64))
        # There is no reference of the loss itself; it must be finite.
        expect_loss(carry[1], None, carry[1])
        return "the sums of 64 nodes are those of numpy"

    # Each of two layers, in three passes, reads a row for each edge and writes one for each node.
    rows_moved = 2 * 3 * (E + N)
    return Work(
        call=lambda carry: call(carry[0], graph),
        carry=call(params, graph),
        check=check,
        unit="edges",
        units_per_call=E,
        flops=flops.TRAINING * flops.convolution(N, E, D),
        bytes=4 * D * rows_moved,
    )


def _loss_of(model: SocialGCN) -> Callable:
    """A loss (params, graph) -> the mean square of all outputs."""

    def loss(params, graph) -> jax.Array:
        outputs = jnp.asarray(model.apply({"params": params}, graph))
        return jnp.mean(outputs**2)

    return loss


def random_graph(
    num_nodes: int, num_edges: int, width: int, rng: np.random.Generator
) -> jraph.GraphsTuple:
    """One graph of nodes [N, D] and E weighted edges, sorted by receiver."""
    nodes = rng.normal(size=(num_nodes, width)) / width**0.5
    edges = rng.random(num_edges)
    senders = rng.integers(0, num_nodes, num_edges)
    receivers = np.sort(rng.integers(0, num_nodes, num_edges))
    return jraph.GraphsTuple(
        nodes=jnp.asarray(nodes, jnp.float32),
        edges=jnp.asarray(edges, jnp.float32),
        senders=jnp.asarray(senders, jnp.int32),
        receivers=jnp.asarray(receivers, jnp.int32),
        n_node=jnp.array([num_nodes]),
        n_edge=jnp.array([num_edges]),
        globals=None,
    )


def _check_sums(graph: Any, nodes: np.ndarray) -> None:
    """Raise WrongResult unless the sums of messages of some nodes are numpy's."""
    messages = graph.edges[:, None] * graph.nodes[graph.senders]
    actual = np.asarray(jax.jit(normalised_sum)(graph, messages))[nodes]
    expected = _sums_by_numpy(graph, np.asarray(messages), nodes)
    expect_close("a convolution", actual, expected, tolerance=FLOAT32_TOLERANCE)


def _sums_by_numpy(graph: jraph.GraphsTuple, messages: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Own features plus the sum of the messages [n, D] of some nodes."""
    receivers, features = np.asarray(graph.receivers), np.asarray(graph.nodes)
    # Edges are sorted by receiver, so each node's messages are one stretch.
    first = np.searchsorted(receivers, nodes)
    stop = np.searchsorted(receivers, nodes, side="right")
    sums = []
    for node, begin, end in zip(nodes, first, stop, strict=True):
        sums.append(features[node] + messages[begin:end].sum(0))
    return np.stack(sums)
