"""The graph convolution over one whole random graph as work to be timed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, expect_close
from benchmarks.harness.workloads import GRAPHS
from benchmarks.work.steps import FLOAT32, descend, loss_holds
from socialrec_jax.models.social import SocialGCN, normalised_sum


def convolution(name: str) -> Work:
    """The graph convolution over one whole graph, gradients included."""
    workload, rng = GRAPHS[name], np.random.default_rng(0)
    N, E, D = workload.nodes, workload.edges, workload.width
    graph = random_graph(N, E, D, rng)
    model = SocialGCN(D)
    params = jax.jit(model.init)(jax.random.key(0), graph)["params"]
    call = descend(
        lambda params, graph: jnp.mean(jnp.asarray(model.apply({"params": params}, graph)) ** 2)
    )

    def check(carry) -> None:
        expect_close("a convolution", *_some_sums(graph, rng.integers(0, N, 64)), tolerance=FLOAT32)
        loss_holds(carry[1], carry[1], carry[1])

    return Work(
        call=lambda carry: call(carry[0], graph),
        carry=call(params, graph),
        check=check,
        unit="edges",
        units_per_call=E,
        flops=flops.TRAINING * flops.convolution(N, E, D),
        bytes=4
        * 2
        * 3
        * D
        * (E + N),  # each layer and pass reads a row an edge and writes one a node
    )


def random_graph(N: int, E: int, D: int, rng: np.random.Generator) -> jraph.GraphsTuple:  # noqa: N803
    """One graph of N nodes [N, D] and E weighted edges, sorted by receiver."""
    return jraph.GraphsTuple(
        nodes=jnp.asarray(rng.normal(size=(N, D)) / D**0.5, jnp.float32),
        edges=jnp.asarray(rng.random(E), jnp.float32),
        senders=jnp.asarray(rng.integers(0, N, E), jnp.int32),
        receivers=jnp.asarray(np.sort(rng.integers(0, N, E)), jnp.int32),
        n_node=jnp.array([N]),
        n_edge=jnp.array([E]),
        globals=None,
    )


def _some_sums(graph, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the aggregator tells some nodes, and the same by numpy."""
    messages = graph.edges[:, None] * graph.nodes[graph.senders]
    found = np.asarray(jax.jit(normalised_sum)(graph, messages))[nodes]
    receivers, heard, own = (np.asarray(x) for x in (graph.receivers, messages, graph.nodes))
    history_ends = (
        np.searchsorted(receivers, nodes),
        np.searchsorted(receivers, nodes, side="right"),
    )
    return found, np.stack(
        [own[n] + heard[a:b].sum(0) for n, a, b in zip(nodes, *history_ends, strict=True)]
    )
