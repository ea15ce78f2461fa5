"""Parts of the behavior transformer: norms, attention, feed-forward, the gated block, the stack.

Blocks keep their stream as rows [N, D], N = B T, and only attention looks at [B, T, ...]: in the
gradient of a product with a 3-D array, XLA's CPU compiler copies the array transposed first
(docs/results.md, "Rows, not blocks").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from socialrec_jax.models.attention import AttentionContext, attend
from socialrec_jax.models.dropout import Dropout, DropoutRng, rng_of_layer
from socialrec_jax.models.stack import apply_layers
from socialrec_jax.shapes import Array, Floats, typed

Dtype = jnp.dtype | type
# The normed stream -> (what is added to the stream, logits of its gate).
_Transform = Callable[[Array], tuple[Array, Array]]


class RMSNorm(nn.Module):
    """x / rms(x) times a learned scale; the mean square is computed in float32."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        # Tests forbid implicit broadcasting between ranks.
        scale = scale.reshape((1,) * (x.ndim - 1) + (-1,))
        inverse = jax.lax.rsqrt(_mean_square(x)).astype(self.dtype)
        # In the blocks' dtype: float32 factors would double what is read and written.
        normed = x.astype(self.dtype) * inverse
        return normed * scale.astype(self.dtype)


def _mean_square(x: Array) -> jax.Array:
    """Of each row [..., 1] in float32; a little more than zero."""
    return jnp.mean(jnp.square(x.astype(jnp.float32)), -1, keepdims=True) + 1e-6


class BiasTable(nn.Module):
    """A learned table [num_buckets, num_heads] that starts at zero: see `RelativeBias`."""

    num_buckets: int
    num_heads: int

    @nn.compact
    def __call__(self) -> Floats[Array, "R H"]:
        return self.param("table", nn.initializers.zeros, (self.num_buckets, self.num_heads))


class Gate(nn.Module):
    """One factor in 0..1 for each feature of each event: sigmoid(rms(x) logits + a learned bias).

    logits: a product of the normed stream. Times the stream's root mean square they are a product
    of the stream x itself, because the norm's scale is one more factor of the kernel.
    """

    @nn.compact
    def __call__(self, logits: Array, x: Array) -> Array:
        bias = self.param("bias", nn.initializers.zeros, (logits.shape[-1],))
        bias = bias.astype(logits.dtype)
        rms = jnp.sqrt(_mean_square(x)).astype(logits.dtype)
        return nn.sigmoid(rms * logits + bias[None])


class JoinedDense(nn.Module):
    """Several products of one input, whose kernels lie side by side [D, sum of sizes].

    Accelerators compute one product. A CPU computes them one by one: to join the gradients of the
    parts would cost it more than one product saves (docs/results.md).
    """

    sizes: tuple[int, ...]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Sequence[Array]:
        shape = x.shape[-1], sum(self.sizes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        kernel = kernel.astype(self.dtype)
        ends = np.cumsum(self.sizes)[:-1]
        if jax.default_backend() == "cpu":
            return [x @ part for part in jnp.split(kernel, ends, -1)]
        return jnp.split(x @ kernel, ends, -1)


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys, and the logits of its gate."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    @typed
    def __call__(
        self, x: Floats[Array, "N D"], context: AttentionContext
    ) -> tuple[Floats[Array, "N D"], Floats[Array, "N D"]]:
        N, D = x.shape
        B, T = context.segments.shape
        qkv, gate = JoinedDense((3 * D, D), self.dtype, name="in")(x)
        parts = jnp.split(qkv, 3, -1)
        query, key, value = (part.reshape(B, T, self.num_heads, -1) for part in parts)
        # Keeps the logits small however large the weights grow (QK-norm).
        query = RMSNorm(self.dtype, name="query_norm")(query)
        key = RMSNorm(self.dtype, name="key_norm")(key)

        attended = attend(query, key, value, context)
        out = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        return out(attended.reshape(N, D)), gate


class SwiGLU(nn.Module):
    """The feed-forward of Shazeer 2020, (silu(xW) * xV) U, and the logits of its gate."""

    expansion: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        D = x.shape[-1]
        hidden = self.expansion * D
        widened, gate = JoinedDense((2 * hidden, D), self.dtype, name="in")(x)
        inner_gate, up = jnp.split(widened, 2, -1)
        narrow = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        return narrow(nn.silu(inner_gate) * up), gate


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
        attention = Attention(self.num_heads, self.dtype, name="attention")
        x = self._add("attention", lambda normed: attention(normed, context), x, dropout_rng)

        feed_forward = SwiGLU(dtype=self.dtype, name="feed_forward")
        return self._add("feed_forward", feed_forward, x, dropout_rng)

    def _add(
        self, name: str, transform: _Transform, x: Array, dropout_rng: DropoutRng | None
    ) -> Array:
        """x plus a gate times what transform makes of the normed stream."""
        normed = RMSNorm(self.dtype, name=f"{name}_norm")(x)
        transformed, logits = transform(normed)
        gate = Gate(name=f"{name}_gate")(logits, x)
        # Dropout masks go by the modules' names.
        dropout = Dropout(self.dropout, name=f"{name}_dropout")
        return x + gate * dropout(transformed, dropout_rng)


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
        # Parameters are made by the blocks, and read by a stack that may be one loop.
        if self.is_initializing():
            for name, context in zip(names, contexts, strict=True):
                x = GatedBlock(*sizes, name=name)(x, context, dropout_rng)
            return x

        params = [self.variables["params"][name] for name in names]
        inputs = [
            (context, rng_of_layer(dropout_rng, layer)) for layer, context in enumerate(contexts)
        ]
        block = GatedBlock(*sizes, parent=None)
        return apply_layers(block, params, x, inputs, self.dtype, self.remat)
