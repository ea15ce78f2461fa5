"""Dropout whose masks are a hash of the step, the module and the row: the same on any number of
devices.
"""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from socialrec_jax.models.hashing import hash32
from socialrec_jax.shapes import Array, Ints, Words


class DropoutRng(struct.PyTreeNode):
    """The keys of dropout masks: a seed of the step, and the global number of each row."""

    seed: Words[Array, ""]
    rows: Ints[Array, "B"]


def rng_of_layer(dropout_rng: DropoutRng | None, layer: int) -> DropoutRng | None:
    """The keys of one layer of a stack, whose layers are the same module."""
    if dropout_rng is None:
        return None
    return dropout_rng.replace(seed=hash32(dropout_rng.seed ^ np.uint32(layer)))


class Dropout(nn.Module):
    """Inverted dropout whose mask is a hash of (step, module, row, position in the row).

    x holds the rows of dropout_rng in their order, in any shape. `jax.random` costs several times
    as much on a CPU and draws by device; here a row has the same mask wherever it is computed, so
    that n devices equal one with dropout on.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, dropout_rng: DropoutRng | None) -> Array:
        if dropout_rng is None or self.rate == 0:
            return x
        # Every module of the model has its own masks.
        path = "/".join(self.path)
        module_hash = jnp.uint32(zlib.crc32(path.encode()))
        rows = dropout_rng.rows.astype(jnp.uint32)
        row_keys = hash32(hash32(rows ^ module_hash) + dropout_rng.seed)

        row_size = x.size // len(row_keys)
        position = jax.lax.iota(jnp.uint32, row_size)[None]
        random = hash32(position ^ row_keys[:, None])
        # The hash is uniform over 32 bits, so this drops a share of `rate`.
        threshold = jnp.uint32(min(self.rate * 2.0**32, 2.0**32 - 1))
        keep = (random >= threshold).reshape(x.shape)
        return jnp.where(keep, x / (1 - self.rate), 0)
