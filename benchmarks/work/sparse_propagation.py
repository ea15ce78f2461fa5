"""P h over a whole graph with fixed edge weights, as products of sparse matrices: a benchmark of a
method that the product does not run.

The product learns the edge weights of sampled trees (`models/social.py`), and gathers and scatters.
Over a whole graph with fixed weights, JAX has a product of sparse rows: on CPUs about seven times
as fast as gather and `segment_sum`, because XLA's CPU scatter is a serial loop
(docs/results/accuracy.md, "Comparison with other systems").
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import sparse

from socialrec_jax.shapes import Array, Floats, Ints


class SparsePropagation(struct.PyTreeNode):
    """P [N, N] and its transpose, both by rows.

    An argument of compiled functions, never a constant in them.
    """

    matrix: sparse.BCSR
    transposed: sparse.BCSR

    @classmethod
    def of(
        cls,
        senders: Ints[Array, "E"],
        receivers: Ints[Array, "E"],
        weights: Floats[Array, "E"],
        num_nodes: int,
    ) -> SparsePropagation:
        """P[receiver, sender] = weight; several edges between the same two nodes add up."""
        senders, receivers = np.asarray(senders), np.asarray(receivers)
        weights = np.asarray(weights)
        return cls(
            _rows(receivers, senders, weights, num_nodes),
            _rows(senders, receivers, weights, num_nodes),
        )

    def __matmul__(self, states: Floats[Array, "N D"]) -> Floats[Array, "N D"]:
        """The sum at each receiver; gradients flow to states, not to weights."""
        return _product(states, self.matrix, self.transposed)


def _rows(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, num_nodes: int) -> sparse.BCSR:
    order = np.lexsort((columns, rows))
    counts = np.bincount(rows, minlength=num_nodes)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    entries = (
        jnp.asarray(values[order], jnp.float32),
        jnp.asarray(columns[order], jnp.int32),
        jnp.asarray(offsets.astype(np.int32)),
    )
    return sparse.BCSR(entries, shape=(num_nodes, num_nodes))


@jax.custom_vjp
def _product(states: Array, matrix: sparse.BCSR, transposed: sparse.BCSR) -> Array:
    return matrix @ states


def _forward(states: Array, matrix: sparse.BCSR, transposed: sparse.BCSR):
    return matrix @ states, transposed


def _backward(transposed: sparse.BCSR, cotangent: Array):
    return transposed @ cotangent, None, None


_product.defvjp(_forward, _backward)
