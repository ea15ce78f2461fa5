"""Parts of the transformer: counter-based dropout, relative biases, the gated block.

Blocks keep their stream as rows [N, D], N = B T, and only attention looks at [B, T, ...]: in the gradient of a product
with a 3-D array, XLA's CPU compiler copies the array transposed first (docs/results.md, "Rows, not blocks").
"""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from socialrec_jax.models.attention import attend
from socialrec_jax.shapes import Array, Bools, Floats, Ints, Words, typed

Dtype = jnp.dtype | type


class Noise(struct.PyTreeNode):
    """What dropout is drawn from: one word a step and the global number of each row."""

    key: Words[Array, ""]
    rows: Ints[Array, "B"]


def mix(x: Words[Array, "*S"]) -> Words[Array, "*S"]:
    """A bijective 32-bit hash whose output bits flip with probability 1/2 for each input bit.

    The constants are those of `lowbias32` (C. Wellons, "Prospecting for hash functions", 2018).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


class Dropout(nn.Module):
    """Inverted dropout whose mask is a hash of (step, module, row, place in the row); x holds noise's rows in order.

    `jax.random` costs several times as much on a CPU, and draws by device: here a row keeps its mask wherever it is
    computed, so that n devices equal one even with dropout on.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, noise: Noise | None) -> Array:
        if noise is None or self.rate == 0:
            return x
        site = jnp.uint32(zlib.crc32("/".join(self.path).encode()))
        row_keys = mix(mix(noise.rows.astype(jnp.uint32) ^ site) + noise.key)
        place = jax.lax.iota(jnp.uint32, x.size // len(row_keys))[None]
        keep = mix(place ^ row_keys[:, None]) >= jnp.uint32(min(self.rate * 2.0**32, 2.0**32 - 1))
        return jnp.where(keep.reshape(x.shape), x / (1 - self.rate), 0)


class RMSNorm(nn.Module):
    """x / rms(x) times a learned scale, computed in float32."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6)
        return (x * scale.reshape((1,) * (x.ndim - 1) + (-1,))).astype(self.dtype)


@typed
def log_buckets(distance: Ints[Array, "*S"], num_buckets: int) -> Ints[Array, "*S"]:
    """Bucket of a distance >= 0: 0, 1, 2-3, 4-7, ... so that near is told apart finely and far coarsely."""
    bits = 32 - jax.lax.clz(jnp.maximum(distance, 0).astype(jnp.int32))
    return jnp.minimum(bits, num_buckets - 1)


class RelativeBias(nn.Module):
    """A learned bias a head for each bucket of distance, as in HSTU (Zhai et al. 2024, eq. 3).

    A plain lookup: on a CPU it is nine times as fast, gradient included, as a product with one-hot rows
    (docs/results.md).
    """

    num_heads: int
    num_buckets: int

    @nn.compact
    @typed
    def __call__(self, distance: Ints[Array, "#B T S"]) -> Floats[Array, "#B H T S"]:
        table = self.param("table", nn.initializers.zeros, (self.num_buckets, self.num_heads))
        return jnp.moveaxis(table[log_buckets(distance, self.num_buckets)], -1, 1)


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys and an additive bias."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    @typed
    def __call__(
        self, x: Floats[Array, "N D"], mask: Bools[Array, "B T T"], bias: Floats[Array, "#B H T T"]
    ) -> Floats[Array, "N D"]:
        (N, D), (B, T, _) = x.shape, mask.shape
        qkv = nn.Dense(3 * D, use_bias=False, dtype=self.dtype, name="qkv")(x)
        query, key, value = jnp.moveaxis(qkv.reshape(B, T, 3, self.num_heads, -1), 2, 0)
        query = RMSNorm(self.dtype, name="query_norm")(query)
        key = RMSNorm(self.dtype, name="key_norm")(key)
        mixed = attend(query, key, value, mask, bias)
        return nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")(mixed.reshape(N, D))


class SwiGLU(nn.Module):
    """The feed-forward of Shazeer 2020: (silu(xW) * xV) U."""

    expansion: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        D = x.shape[-1]
        gate, up = jnp.split(
            nn.Dense(2 * self.expansion * D, use_bias=False, dtype=self.dtype, name="in")(x), 2, -1
        )
        return nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")(nn.silu(gate) * up)


class GatedBlock(nn.Module):
    """Pre-norm attention and feed-forward, each let in by a sigmoid gate of the stream (LiGR, Borisyuk et al. 2025).

    x: the stream as rows [B T, D].
    """

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array, bias: Array, noise: Noise | None) -> Array:
        attended = Attention(self.num_heads, self.dtype, name="attention")(
            RMSNorm(self.dtype)(x), mask, bias
        )
        x = x + self._gate("attention_gate", x) * Dropout(self.dropout)(attended, noise)
        transformed = SwiGLU(dtype=self.dtype, name="feed_forward")(RMSNorm(self.dtype)(x))
        return x + self._gate("feed_forward_gate", x) * Dropout(self.dropout)(transformed, noise)

    def _gate(self, name: str, x: Array) -> Array:
        return nn.sigmoid(nn.Dense(x.shape[-1], dtype=self.dtype, name=name)(x))
