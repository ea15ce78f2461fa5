"""Parts of the behavior transformer: norms, attention, feed-forward, the gated block.

Blocks keep their stream as rows [N, D], N = B T, and only attention looks at [B, T, ...]: in the
gradient of a product with a 3-D array, XLA's CPU compiler copies the array transposed first
(docs/results.md, "Rows, not blocks").
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.models.attention import AttentionContext, attend
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.shapes import Array, Floats, typed

Dtype = jnp.dtype | type


class RMSNorm(nn.Module):
    """x / rms(x) times a learned scale, computed in float32."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), -1, keepdims=True)
        x = x * jax.lax.rsqrt(mean_square + 1e-6)
        # Tests forbid implicit broadcasting between ranks.
        scale = scale.reshape((1,) * (x.ndim - 1) + (-1,))
        return (x * scale).astype(self.dtype)


class BiasTable(nn.Module):
    """A learned table [num_buckets, num_heads] that starts at zero: see `RelativeBias`."""

    num_buckets: int
    num_heads: int

    @nn.compact
    def __call__(self) -> Floats[Array, "R H"]:
        return self.param("table", nn.initializers.zeros, (self.num_buckets, self.num_heads))


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    @typed
    def __call__(self, x: Floats[Array, "N D"], context: AttentionContext) -> Floats[Array, "N D"]:
        N, D = x.shape
        B, T = context.segments.shape
        # One product for all three.
        qkv = nn.Dense(3 * D, use_bias=False, dtype=self.dtype, name="qkv")(x)
        qkv = qkv.reshape(B, T, 3, self.num_heads, -1)
        query, key, value = jnp.moveaxis(qkv, 2, 0)
        # Keeps the logits small however large the weights grow (QK-norm).
        query = RMSNorm(self.dtype, name="query_norm")(query)
        key = RMSNorm(self.dtype, name="key_norm")(key)

        attended = attend(query, key, value, context)
        out = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        return out(attended.reshape(N, D))


class SwiGLU(nn.Module):
    """The feed-forward of Shazeer 2020: (silu(xW) * xV) U."""

    expansion: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        D = x.shape[-1]
        hidden = 2 * self.expansion * D
        # One product for the gate and for what it lets through.
        widen = nn.Dense(hidden, use_bias=False, dtype=self.dtype, name="in")
        narrow = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        gate, up = jnp.split(widen(x), 2, -1)
        return narrow(nn.silu(gate) * up)


class GatedBlock(nn.Module):
    """Pre-norm attention and feed-forward, each multiplied by a sigmoid gate of the stream (LiGR,
    Borisyuk et al. 2025).

    x: the stream as rows [B T, D].
    """

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, context: AttentionContext, dropout_rng: DropoutRng | None
    ) -> Array:
        # Parameters and dropout masks go by the modules' names and their order here.
        attention = Attention(self.num_heads, self.dtype, name="attention")
        attended = attention(RMSNorm(self.dtype)(x), context)
        gate = self._gate("attention_gate", x)
        x = x + gate * Dropout(self.dropout)(attended, dropout_rng)

        feed_forward = SwiGLU(dtype=self.dtype, name="feed_forward")
        transformed = feed_forward(RMSNorm(self.dtype)(x))
        gate = self._gate("feed_forward_gate", x)
        return x + gate * Dropout(self.dropout)(transformed, dropout_rng)

    def _gate(self, name: str, x: Array) -> Array:
        """One factor in 0..1 for each feature of each event."""
        logits = nn.Dense(x.shape[-1], dtype=self.dtype, name=name)(x)
        return nn.sigmoid(logits)
