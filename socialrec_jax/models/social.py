"""The social model: what friends did -> what the user may care for. A graph convolution over jraph
graphs.

    h^(l) = sigma(theta^(l) AGGR(h^(l-1), P)),   P_uv = w_uv / sqrt(d_u d_v),   social state = mean of h^(0) .. h^(L)

Aggregation includes the node itself (I + P). The convolution takes any graph whose edges are sorted
by receiver; friend trees are one kind. Sources: GCN (Kipf & Welling 2017), the mean of layers
(LightGCN, He et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jraph
import numpy as np
from flax import linen as nn

from socialrec_jax.batch import FriendTrees
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.items import normalise
from socialrec_jax.models.layers import log_buckets
from socialrec_jax.shapes import Array, Floats, Ints, typed

AGE_BUCKETS = 32  # powers of two of seconds
NUM_LAYERS = 2  # the depth of a friend tree

# a jraph.GraphsTuple of arrays; its own annotations allow trees of anything, which nothing here can
# use
Graph = Any

# What (graph, messages [E, D]) tell each node, itself included. Edges hold weights, 0 where there
# is no edge.
Aggregator = Callable[[Graph, Array], Array]


def normalised_sum(graph: Graph, messages: Floats[Array, "E D"]) -> Floats[Array, "N D"]:
    """(I + P) h."""
    return graph.nodes + _sum(graph, messages)


def mean(graph: Graph, messages: Floats[Array, "E D"]) -> Floats[Array, "N D"]:
    """(I + P) h, each row divided by its sum of weights."""
    return normalised_sum(graph, messages) / (1 + _sum(graph, graph.edges[:, None]))


def max_pool(graph: Graph, messages: Floats[Array, "E D"]) -> Floats[Array, "N D"]:
    """The largest of each feature over the node and its weighted neighbours."""
    heard = jnp.where(graph.edges[:, None] > 0, messages, -jnp.inf)
    largest = jraph.segment_max(heard, graph.receivers, len(graph.nodes), indices_are_sorted=True)
    return jnp.maximum(graph.nodes, largest)


AGGREGATORS: dict[str, Aggregator] = {"sum": normalised_sum, "mean": mean, "max": max_pool}


def _sum(graph: Graph, values: Floats[Array, "E *S"]) -> Floats[Array, "N *S"]:
    return jraph.segment_sum(
        jnp.asarray(values), graph.receivers, len(graph.nodes), indices_are_sorted=True
    )


class SocialGCN(nn.Module):
    """GraphsTuple in, a state for each of its nodes out.

    nodes [N, D] features, edges [E] weights >= 0 (0: no edge), receivers sorted.
    """

    width: int
    aggregate: Aggregator = normalised_sum

    @nn.compact
    def __call__(self, graph: Graph) -> Floats[Array, "N D"]:
        graph = graph._replace(edges=graph.edges * self._likeness(graph))
        states: list[Array] = [graph.nodes]
        for layer in range(NUM_LAYERS):
            messages = graph.edges[:, None] * states[-1][graph.senders]
            heard = self.aggregate(graph._replace(nodes=states[-1]), messages)
            states.append(
                nn.gelu(nn.Dense(self.width, use_bias=False, name=f"theta_{layer}")(heard))
            )
        return sum(states[1:], states[0]) / len(states)

    def _likeness(self, graph: Graph) -> Floats[Array, "E"]:
        """How much each edge is let through, in 0..1: friends with the same preferences are better
        advisers.

        Starts as sigmoid(cos): alike counts for more from the first step on, nobody is shut out,
        and both the slope and the level have a gradient.
        """
        slope = self.param("likeness_slope", nn.initializers.ones, ())
        level = self.param("likeness_level", nn.initializers.zeros, ())
        unit = normalise(graph.nodes)
        cosine = jnp.sum(unit[graph.senders] * unit[graph.receivers], axis=-1)
        return nn.sigmoid(slope * cosine + level)


class UserFeatures(nn.Module):
    """What a node of the friend graph is known by: who it is, and what it did lately."""

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
        """users: -1 is nobody in particular; items: vectors of recent items; exists [*S, r]: which
        of them are real.
        """
        table = self.param(
            "users", nn.initializers.normal(0.1 * self.width**-0.5), (self.num_users, self.width)
        )
        own = jnp.where((users >= 0)[..., None], jnp.take(table, jnp.maximum(users, 0), axis=0), 0)
        by_age = self.param("age", nn.initializers.zeros, (AGE_BUCKETS,))
        weights = jnp.where(exists, jnp.exp(by_age[log_buckets(ages, AGE_BUCKETS)]), 0)
        weights = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-6)
        recent = jnp.einsum("...r,...rD->...D", weights, items)
        return own + nn.Dense(self.width, use_bias=False, name="recent")(recent)


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
        """[*S, D]; zeros without friends, and at the start of training: a useless graph costs
        nothing.
        """
        nodes = UserFeatures(self.num_users, self.width, name="features")(
            trees.users, items, trees.ages, trees.exists
        )
        nodes = Dropout(self.dropout)(nodes, dropout_rng)
        states = SocialGCN(self.width, self.aggregate, name="convolution")(graph_of(trees, nodes))
        roots = states.reshape(nodes.shape)[..., 0, :]
        gate = self.param("gate", nn.initializers.zeros, (self.width,))
        added = nn.Dense(self.width, use_bias=False, name="out")(roots) * gate.reshape(
            (1,) * (roots.ndim - 1) + (-1,)
        )
        return jnp.where(jnp.any(trees.edges > 0, axis=-1, keepdims=True), added, 0)


def graph_of(trees: FriendTrees, nodes: Floats[Array, "*S n D"]) -> jraph.GraphsTuple:
    """All trees as one graph with these node features.

    Nodes lie level by level, so parents and with them the receivers are sorted without a sort.
    """
    a, b = trees.fan_out
    n, Q = nodes.shape[-2], int(np.prod(nodes.shape[:-2]))
    parents = np.concatenate(
        [np.zeros(a, np.int32), np.repeat(np.arange(1, a + 1, dtype=np.int32), b)]
    )
    first = jnp.arange(Q, dtype=jnp.int32)[:, None] * n
    return jraph.GraphsTuple(
        nodes=nodes.reshape(Q * n, nodes.shape[-1]),
        edges=trees.edges.reshape(-1),
        senders=(first + np.arange(1, n, dtype=np.int32)[None]).reshape(-1),
        receivers=(first + parents[None]).reshape(-1),
        n_node=jnp.full(Q, n),
        n_edge=jnp.full(Q, n - 1),
        globals=None,
    )
