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

from socialrec_jax.shapes import Array, Ints, Words

_SHIFTS = (np.uint32(16), np.uint32(15))
_FACTORS = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))


class DropoutRng(struct.PyTreeNode):
    """The keys of dropout masks: a seed of the step, and the global number of each row."""

    seed: Words[Array, ""]
    rows: Ints[Array, "B"]


def hash32(x: Words[Array, "*S"]) -> Words[Array, "*S"]:
    """A bijection of 32-bit integers whose output bits flip with probability 1/2 for each input
    bit; for NumPy and JAX arrays.

    The constants are those of `lowbias32` (C. Wellons, "Prospecting for hash functions", 2018).
    """
    x = (x ^ (x >> _SHIFTS[0])) * _FACTORS[0]
    x = (x ^ (x >> _SHIFTS[1])) * _FACTORS[1]
    return x ^ (x >> _SHIFTS[0])


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
        module_hash = jnp.uint32(zlib.crc32("/".join(self.path).encode()))
        row_hashes = hash32(dropout_rng.rows.astype(jnp.uint32) ^ module_hash)
        row_keys = hash32(row_hashes + dropout_rng.seed)

        position = jax.lax.iota(jnp.uint32, x.size // len(row_keys))[None]
        threshold = jnp.uint32(min(self.rate * 2.0**32, 2.0**32 - 1))
        keep = hash32(position ^ row_keys[:, None]) >= threshold
        return jnp.where(keep.reshape(x.shape), x / (1 - self.rate), 0)
