"""Parts of the transformer: counter-based dropout, relative biases, the gated block.

Blocks keep their stream as rows [N, D], N = B T, and only attention looks at [B, T, ...]: in the
gradient of a product with a 3-D array, XLA's CPU compiler copies the array transposed first
(docs/results.md, "Rows, not blocks").
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.models.attention import attend
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed

Dtype = jnp.dtype | type


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
    """Bucket of a distance >= 0: 0, 1, 2-3, 4-7, ... so that near is told apart finely and far
    coarsely.
    """
    bits = 32 - jax.lax.clz(jnp.maximum(distance, 0).astype(jnp.int32))
    return jnp.minimum(bits, num_buckets - 1)


class RelativeBias(nn.Module):
    """A learned bias a head for each bucket of distance, as in HSTU (Zhai et al. 2024, eq. 3).

    A plain lookup: on a CPU it is nine times as fast, gradient included, as a product with one-hot
    rows (docs/results.md).
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
    """Pre-norm attention and feed-forward, each let in by a sigmoid gate of the stream (LiGR,
    Borisyuk et al. 2025).

    x: the stream as rows [B T, D].
    """

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array, bias: Array, dropout_rng: DropoutRng | None) -> Array:
        attended = Attention(self.num_heads, self.dtype, name="attention")(
            RMSNorm(self.dtype)(x), mask, bias
        )
        x = x + self._gate("attention_gate", x) * Dropout(self.dropout)(attended, dropout_rng)
        transformed = SwiGLU(dtype=self.dtype, name="feed_forward")(RMSNorm(self.dtype)(x))
        return x + self._gate("feed_forward_gate", x) * Dropout(self.dropout)(
            transformed, dropout_rng
        )

    def _gate(self, name: str, x: Array) -> Array:
        return nn.sigmoid(nn.Dense(x.shape[-1], dtype=self.dtype, name=name)(x))
