"""The social model: from friends' recent items to a part of the user's state, by a graph
convolution over jraph graphs.

    h^(l) = sigma(theta^(l) AGGR(h^(l-1), P)),  P_uv = w_uv / sqrt(d_u d_v)
    state = mean of h^(0) .. h^(L)

Aggregation includes the node itself (I + P). The convolution takes any graph whose edges are sorted
by receiver; friend trees are one kind. Sources: GCN (Kipf & Welling 2017), the mean of layers
(LightGCN, He et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import linen as nn

from socialrec_jax.batch import FriendTrees
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.items import normalise
from socialrec_jax.shapes import Array, Floats, Ints, typed

AGE_BUCKETS = 32  # powers of two of seconds
NUM_LAYERS = 2  # the depth of a friend tree

# A jraph.GraphsTuple of arrays. Its own annotations allow trees of anything as features, which no
# function here could use.
Graph = Any

# (graph, messages [E, D]) -> what each node receives [N, D], itself included. graph.edges are
# weights, 0 where there is no edge.
Aggregator = Callable[[Graph, Array], Array]


def normalised_sum(graph: Graph, messages: Floats[Array, "E D"]) -> Floats[Array, "N D"]:
    """(I + P) h."""
    return graph.nodes + _sum_at_receivers(graph, messages)


def mean(graph: Graph, messages: Floats[Array, "E D"]) -> Floats[Array, "N D"]:
    """(I + P) h, each row divided by its sum of weights."""
    weights = _sum_at_receivers(graph, graph.edges[:, None])
    return normalised_sum(graph, messages) / (1 + weights)


def max_pool(graph: Graph, messages: Floats[Array, "E D"]) -> Floats[Array, "N D"]:
    """The largest of each feature over the node and its weighted neighbours."""
    # An absent edge must not give its zeros as a maximum.
    messages = jnp.where(graph.edges[:, None] > 0, messages, -jnp.inf)
    largest = jraph.segment_max(
        messages, graph.receivers, len(graph.nodes), indices_are_sorted=True
    )
    return jnp.maximum(graph.nodes, largest)


AGGREGATORS: dict[str, Aggregator] = {"sum": normalised_sum, "mean": mean, "max": max_pool}


def _sum_at_receivers(graph: Graph, values: Floats[Array, "E *S"]) -> Floats[Array, "N *S"]:
    return jraph.segment_sum(
        jnp.asarray(values), graph.receivers, len(graph.nodes), indices_are_sorted=True
    )


class SocialGCN(nn.Module):
    """Graph convolution: a GraphsTuple in, a state for each of its nodes out.

    nodes [N, D] features, edges [E] weights >= 0 (0: no edge), receivers sorted.
    """

    width: int
    aggregate: Aggregator = normalised_sum

    @nn.compact
    def __call__(self, graph: Graph) -> Floats[Array, "N D"]:
        edges = graph.edges * self._edge_gate(graph)
        graph = graph._replace(edges=edges)
        states: list[Array] = [graph.nodes]
        for layer in range(NUM_LAYERS):
            messages = graph.edges[:, None] * states[-1][graph.senders]
            received = self.aggregate(graph._replace(nodes=states[-1]), messages)
            theta = nn.Dense(self.width, use_bias=False, name=f"theta_{layer}")
            states.append(nn.gelu(theta(received)))
        # The mean of all layers keeps what deep layers smooth away.
        return sum(states[1:], states[0]) / len(states)

    def _edge_gate(self, graph: Graph) -> Floats[Array, "E"]:
        """Factor in 0..1 of each edge: larger where both ends have similar features.

        Starts as sigmoid(cos), so that similar friends count for more from the first step on, no
        edge is closed, and slope and level both have a gradient.
        """
        # The names are those of saved parameters.
        slope = self.param("likeness_slope", nn.initializers.ones, ())
        level = self.param("likeness_level", nn.initializers.zeros, ())
        unit = normalise(graph.nodes)
        senders, receivers = unit[graph.senders], unit[graph.receivers]
        cosine = jnp.sum(senders * receivers, axis=-1)
        return nn.sigmoid(slope * cosine + level)


class UserFeatures(nn.Module):
    """Features of a node of the friend graph: the user's embedding plus their recent items."""

    num_users: int
    width: int

    @nn.compact
    @typed
    def __call__(
        self,
        users: Ints[Array, "*S"],
        items: Floats[Array, "*S r D"],
        ages: Ints[Array, "*S r"],
        exists: Array,
    ) -> Floats[Array, "*S D"]:
        """users: -1 has no embedding; items: vectors of recent items; exists [*S, r]: which are
        real.
        """
        embedding = self._embedding(users)
        return embedding + self._recent_items(items, ages, exists)

    def _embedding(self, users: Array) -> Array:
        # Small, so that recent items count for more than the embedding at first.
        initial = nn.initializers.normal(0.1 * self.width**-0.5)
        table = self.param("users", initial, (self.num_users, self.width))
        rows = jnp.take(table, jnp.maximum(users, 0), axis=0)
        exists = (users >= 0)[..., None]
        return jnp.where(exists, rows, 0)

    def _recent_items(self, items: Array, ages: Array, exists: Array) -> Array:
        """A projection of the mean of recent items, weighted by age."""
        by_age = self.param("age", nn.initializers.zeros, (AGE_BUCKETS,))
        logits = jnp.take(by_age, log_buckets(ages, AGE_BUCKETS))
        weights = jnp.where(exists, jnp.exp(logits), 0)
        total = weights.sum(-1, keepdims=True)
        weights = weights / jnp.maximum(total, 1e-6)  # a node may have no items
        recent = jnp.einsum("...r,...rD->...D", weights, items)
        return nn.Dense(self.width, use_bias=False, name="recent")(recent)


@typed
def log_buckets(distance: Ints[Array, "*S"], num_buckets: int) -> Ints[Array, "*S"]:
    """The logarithmic bucket of a distance: 0, 1, 2-3, 4-7, ...; below 0 counts as 0."""
    distance = jnp.maximum(distance, 0).astype(jnp.int32)
    # The number of bits: the logarithm without floating point.
    bits = 32 - jax.lax.clz(distance)
    return jnp.minimum(bits, num_buckets - 1)


class SocialState(nn.Module):
    """What a user's friends add to the user's state."""

    num_users: int
    width: int
    aggregate: Aggregator
    dropout: float

    @nn.compact
    def __call__(
        self, trees: FriendTrees, items: Floats[Array, "*S n r D"], dropout_rng: DropoutRng | None
    ) -> Array:
        """[*S, D]; items: the vectors of the trees' items.

        Zeros for users without friends. The gate starts at zero, so that a useless graph costs
        nothing.
        """
        features = UserFeatures(self.num_users, self.width, name="features")
        nodes = features(trees.users, items, trees.ages, trees.exists)
        nodes = Dropout(self.dropout)(nodes, dropout_rng)
        convolution = SocialGCN(self.width, self.aggregate, name="convolution")
        states = convolution(graph_of(trees, nodes))
        roots = states.reshape(nodes.shape)[..., 0, :]

        gate = self.param("gate", nn.initializers.zeros, (self.width,))
        gate = gate.reshape((1,) * (roots.ndim - 1) + (-1,))
        out = nn.Dense(self.width, use_bias=False, name="out")
        has_friends = jnp.any(trees.edges > 0, axis=-1, keepdims=True)
        return jnp.where(has_friends, out(roots) * gate, 0)


def graph_of(trees: FriendTrees, nodes: Floats[Array, "*S n D"]) -> jraph.GraphsTuple:
    """All trees as one graph with these node features.

    Nodes lie level by level, so parents, and with them the receivers, are sorted without a sort.
    """
    n, num_trees = nodes.shape[-2], int(np.prod(nodes.shape[:-2]))
    children = np.arange(1, n, dtype=np.int32)
    parents = _parents(*trees.fan_out)

    # NumPy constants plus an offset for each tree.
    first = jnp.arange(num_trees, dtype=jnp.int32)[:, None] * n
    return jraph.GraphsTuple(
        nodes=nodes.reshape(num_trees * n, nodes.shape[-1]),
        edges=trees.edges.reshape(-1),
        senders=(first + children[None]).reshape(-1),
        receivers=(first + parents[None]).reshape(-1),
        n_node=jnp.full(num_trees, n),
        n_edge=jnp.full(num_trees, n - 1),
        globals=None,
    )


def _parents(a: int, b: int) -> np.ndarray:
    """The parent of each node but the root of a tree with fan-out (a, b)."""
    of_friends = np.zeros(a, np.int32)
    friends = np.arange(1, a + 1, dtype=np.int32)
    of_their_friends = np.repeat(friends, b)
    return np.concatenate([of_friends, of_their_friends])
