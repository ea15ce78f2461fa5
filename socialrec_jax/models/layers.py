"""Parts of the behavior transformer: norms, attention, feed-forward, the gated block, the stack.

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
from socialrec_jax.models.stack import apply_layers
from socialrec_jax.shapes import Array, Floats, typed

Dtype = jnp.dtype | type


class RMSNorm(nn.Module):
    """x / rms(x) times a learned scale; the mean square is computed in float32."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        mean_square = jnp.mean(jnp.square(x.astype(jnp.float32)), -1, keepdims=True)
        inverse = jax.lax.rsqrt(mean_square + 1e-6)
        # Tests forbid implicit broadcasting between ranks.
        scale = scale.reshape((1,) * (x.ndim - 1) + (-1,))
        return x.astype(self.dtype) * inverse.astype(self.dtype) * scale.astype(self.dtype)


class BiasTable(nn.Module):
    """A learned table [num_buckets, num_heads] that starts at zero: see `RelativeBias`."""

    num_buckets: int
    num_heads: int

    @nn.compact
    def __call__(self) -> Floats[Array, "R H"]:
        return self.param("table", nn.initializers.zeros, (self.num_buckets, self.num_heads))


class Gate(nn.Module):
    """One factor in 0..1 for each feature of each event: sigmoid(logits + a learned bias)."""

    @nn.compact
    def __call__(self, logits: Array) -> Array:
        bias = self.param("bias", nn.initializers.zeros, (logits.shape[-1],))
        return nn.sigmoid(logits + bias.astype(logits.dtype)[None])


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys, times a gate."""

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    @typed
    def __call__(
        self, x: Floats[Array, "N D"], context: AttentionContext, dropout_rng: DropoutRng | None
    ) -> Floats[Array, "N D"]:
        N, D = x.shape
        B, T = context.segments.shape
        # One product for queries, keys, values and the gate.
        widen = nn.Dense(4 * D, use_bias=False, dtype=self.dtype, name="in")
        *qkv, gate = jnp.split(widen(x), 4, -1)
        query, key, value = (part.reshape(B, T, self.num_heads, -1) for part in qkv)
        # Keeps the logits small however large the weights grow (QK-norm).
        query = RMSNorm(self.dtype, name="query_norm")(query)
        key = RMSNorm(self.dtype, name="key_norm")(key)

        attended = attend(query, key, value, context)
        out = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        attended = out(attended.reshape(N, D))
        return Gate(name="gate")(gate) * Dropout(self.dropout)(attended, dropout_rng)


class SwiGLU(nn.Module):
    """The feed-forward of Shazeer 2020, (silu(xW) * xV) U, times a gate."""

    dropout: float
    expansion: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, dropout_rng: DropoutRng | None) -> Array:
        D = x.shape[-1]
        hidden = self.expansion * D
        # One product for all that is computed from the input.
        widen = nn.Dense(2 * hidden + D, use_bias=False, dtype=self.dtype, name="in")
        inner_gate, up, gate = jnp.split(widen(x), [hidden, 2 * hidden], -1)
        narrow = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        transformed = narrow(nn.silu(inner_gate) * up)
        return Gate(name="gate")(gate) * Dropout(self.dropout)(transformed, dropout_rng)


class GatedBlock(nn.Module):
    """Pre-norm attention and feed-forward, each multiplied by a sigmoid gate (LiGR, Borisyuk et al.
    2025).

    The gates read the normed stream, so that they are columns of products that are there anyway.
    x: the stream as rows [B T, D].
    """

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, context: AttentionContext, dropout_rng: DropoutRng | None
    ) -> Array:
        # Dropout masks go by the modules' names.
        attention = Attention(self.num_heads, self.dropout, self.dtype, name="attention")
        normed = RMSNorm(self.dtype, name="attention_norm")(x)
        x = x + attention(normed, context, dropout_rng)

        feed_forward = SwiGLU(self.dropout, dtype=self.dtype, name="feed_forward")
        normed = RMSNorm(self.dtype, name="feed_forward_norm")(x)
        return x + feed_forward(normed, dropout_rng)


class Blocks(nn.Module):
    """Gated blocks, one for each context; x: the stream as rows [B T, D]."""

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Array, contexts: list[AttentionContext], dropout_rng: DropoutRng | None
    ) -> Array:
        names = [f"block_{layer}" for layer in range(len(contexts))]
        sizes = self.num_heads, self.dropout, self.dtype
        if self.is_initializing():
            for name, context in zip(names, contexts, strict=True):
                x = GatedBlock(*sizes, name=name)(x, context, dropout_rng)
            return x

        params = [self.variables["params"][name] for name in names]
        inputs = [
            (context, dropout_rng and dropout_rng.of_layer(layer))
            for layer, context in enumerate(contexts)
        ]
        block = GatedBlock(*sizes, parent=None)
        return apply_layers(block, params, x, inputs, self.dtype, self.remat)
