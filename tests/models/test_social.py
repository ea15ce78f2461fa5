"""The convolution equals dense algebra on any graph, and absent edges, padding and numbering change
nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from socialrec_jax.batch import FriendTrees
from socialrec_jax.models.social import AGGREGATORS, SocialGCN, SocialState, graph_of, log_buckets
from tests.parameters import perturbed

D = 6


def graph_from(
    rng: np.random.Generator, num_nodes: int = 12, num_edges: int = 40
) -> jraph.GraphsTuple:
    """Random directed, weighted edges without repeats, sorted by receiver; some have weight 0."""
    pairs = np.sort(rng.choice(num_nodes * num_nodes, num_edges, replace=False))
    weights = rng.uniform(0.2, 2, num_edges) * (rng.random(num_edges) < 0.8)
    return jraph.GraphsTuple(
        nodes=rng.normal(size=(num_nodes, D)).astype(np.float32),
        edges=weights.astype(np.float32),
        senders=(pairs % num_nodes).astype(np.int32),
        receivers=(pairs // num_nodes).astype(np.int32),
        n_node=np.array([num_nodes]),
        n_edge=np.array([num_edges]),
        globals=None,
    )


def gcn(name: str, graph, seed: int = 0):
    """(module, params away from their start)."""
    module = SocialGCN(D, AGGREGATORS[name])
    params = jax.jit(module.init)(jax.random.key(seed), graph)
    return module, perturbed(params)


def dense(name: str, graph, params) -> np.ndarray:
    """The same in matrices [receiver, sender]."""
    p, h = params["params"], np.asarray(graph.nodes)
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    gates = 1 / (1 + np.exp(-(p["likeness_slope"] * (unit @ unit.T) + p["likeness_level"])))
    P = np.zeros((len(h), len(h)))
    P[graph.receivers, graph.senders] = graph.edges
    P = P * gates
    states = [h]
    for layer in range(2):
        if name == "max":
            messages = np.where((P > 0)[..., None], P[..., None] * h[None], -np.inf)
            received = np.maximum(h, messages.max(1))
        else:
            received = h + P @ h
            received = received / (1 + P.sum(1, keepdims=True)) if name == "mean" else received
        h = np.asarray(jax.nn.gelu(received @ p[f"theta_{layer}"]["kernel"]))
        states.append(h)
    return np.mean(states, axis=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AGGREGATORS)
def test_each_aggregation_equals_dense_algebra(name, seed):
    graph = graph_from(np.random.default_rng(seed))
    module, params = gcn(name, graph)
    np.testing.assert_allclose(
        jax.jit(module.apply)(params, graph), dense(name, graph, params), rtol=2e-4, atol=2e-5
    )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_padding_absent_edges_and_numbering_change_nothing(name):
    rng = np.random.default_rng(0)
    graph = graph_from(rng)
    module, params = gcn(name, graph)
    apply = jax.jit(module.apply)
    plain = apply(params, graph)
    padded = jraph.pad_with_graphs(graph, 20, 60, 3)
    np.testing.assert_allclose(apply(params, padded)[:12], plain, rtol=1e-5, atol=1e-6)
    real = graph.edges > 0
    fewer = graph._replace(
        edges=graph.edges[real], senders=graph.senders[real], receivers=graph.receivers[real]
    )
    np.testing.assert_allclose(apply(params, fewer), plain, rtol=1e-5, atol=1e-6)
    number = rng.permutation(12)
    order = np.argsort(number[graph.receivers], kind="stable")
    moved = graph._replace(
        nodes=graph.nodes[np.argsort(number)],
        edges=graph.edges[order],
        senders=number[graph.senders][order],
        receivers=number[graph.receivers][order],
    )
    np.testing.assert_allclose(apply(params, moved)[number], plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_nodes_without_edges_and_zero_nodes_have_finite_gradients(name):
    graph = graph_from(np.random.default_rng(0))
    graph = graph._replace(
        edges=np.where(graph.receivers < 6, 0, graph.edges),
        nodes=graph.nodes * (np.arange(12) % 3 > 0)[:, None],
    )
    module, params = gcn(name, graph)

    def total(params, nodes):
        return jnp.sum(jnp.square(module.apply(params, graph._replace(nodes=nodes))))

    value_and_gradients = jax.jit(jax.value_and_grad(total, (0, 1)))
    value, gradients = value_and_gradients(params, jnp.asarray(graph.nodes))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradients)))


def random_trees(
    rng: np.random.Generator, queries: int, fan_out=(3, 2), recent: int = 4
) -> FriendTrees:
    n = 1 + fan_out[0] * (1 + fan_out[1])
    there = np.ones((queries, n), bool)
    there[:, 1:4] = rng.random((queries, 3)) < 0.7
    there[:, 4:] = (rng.random((queries, 6)) < 0.7) & np.repeat(there[:, 1:4], 2, axis=1)
    return FriendTrees(
        users=np.where(there, rng.integers(0, 30, (queries, n)), -1).astype(np.int32),
        items=rng.integers(0, 9, (queries, n, recent)).astype(np.int32),
        ages=rng.integers(0, 10**6, (queries, n, recent)).astype(np.int32),
        exists=(rng.random((queries, n, recent)) < 0.8) & there[..., None],
        edges=(there[:, 1:] * rng.uniform(0.1, 1, (queries, n - 1))).astype(np.float32),
        fan_out=fan_out,
    )


def test_a_tree_graph_is_sorted_and_points_to_parents():
    trees = random_trees(np.random.default_rng(0), 2)
    graph = graph_of(trees, np.zeros((2, 10, D), np.float32))
    assert (np.diff(graph.receivers) >= 0).all()
    assert graph.senders[:9].tolist() == list(range(1, 10))
    assert graph.receivers[:9].tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_array_equal(graph.receivers[9:], graph.receivers[:9] + 10)


def test_what_is_absent_is_not_read():
    rng = np.random.default_rng(0)
    trees = random_trees(rng, 5)
    trees.edges[0] = 0
    items = rng.normal(size=(*trees.items.shape, D)).astype(np.float32)
    module = SocialState(30, D, AGGREGATORS["sum"], dropout=0.0)
    apply = jax.jit(module.apply)
    params = jax.jit(module.init)(jax.random.key(0), trees, items, None)
    assert not np.asarray(apply(params, trees, items, None)).any(), "a closed gate adds nothing"
    params = jax.tree.map(lambda p: p + 0.5, params)
    state = np.asarray(apply(params, trees, items, None))
    assert not state[0].any(), "users without friends get zeros"
    assert np.abs(state[1:]).min(axis=1).max() > 0
    other = np.where(trees.exists[..., None], items, 99.0).astype(np.float32)
    older = trees.replace(ages=np.where(trees.exists, trees.ages, 7))
    np.testing.assert_allclose(apply(params, older, other, None), state, rtol=1e-5)


@pytest.mark.parametrize(
    ("distance", "bucket"),
    [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (127, 7), (2**31 - 1, 9), (-5, 0)],
)
def test_log_buckets(distance, bucket):
    assert int(log_buckets(jnp.array(distance), 10)) == bucket
