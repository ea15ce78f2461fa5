"""Dropout whose masks are a hash of the step, the module and the row: the same on any number of
devices.
"""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from socialrec_jax.shapes import Array, Ints, Words


class DropoutRng(struct.PyTreeNode):
    """What dropout is drawn from: one word a step and the global number of each row."""

    key: Words[Array, ""]
    rows: Ints[Array, "B"]


def hash32(x: Words[Array, "*S"]) -> Words[Array, "*S"]:
    """A bijective 32-bit hash whose output bits flip with probability 1/2 for each input bit.

    The constants are those of `lowbias32` (C. Wellons, "Prospecting for hash functions", 2018).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


class Dropout(nn.Module):
    """Inverted dropout whose mask is a hash of (step, module, row, place in the row); x holds
    noise's rows in order.

    `jax.random` costs several times as much on a CPU, and draws by device: here a row keeps its
    mask wherever it is computed, so that n devices equal one even with dropout on.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, dropout_rng: DropoutRng | None) -> Array:
        if dropout_rng is None or self.rate == 0:
            return x
        site = jnp.uint32(zlib.crc32("/".join(self.path).encode()))
        row_keys = hash32(hash32(dropout_rng.rows.astype(jnp.uint32) ^ site) + dropout_rng.key)
        place = jax.lax.iota(jnp.uint32, x.size // len(row_keys))[None]
        keep = hash32(place ^ row_keys[:, None]) >= jnp.uint32(
            min(self.rate * 2.0**32, 2.0**32 - 1)
        )
        return jnp.where(keep.reshape(x.shape), x / (1 - self.rate), 0)
